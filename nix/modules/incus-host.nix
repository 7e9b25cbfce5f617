# A machine whose Incus runs jobs of pikaci.
#
# Incus itself is nixpkgs' module. Project, profile, network and the restricted certificate are made by `pikaci init-incus`,
# which changes only what is missing; the image is imported when there is one.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pikaci-incus;

  folder = "/var/lib/pikaci-incus";

  options =
    lib.concatMap (share: [
      "--share"
      share
    ]) cfg.sharedFolders
    ++ lib.optionals (cfg.pool != null) [
      "--pool"
      cfg.pool
    ]
    ++ lib.optionals (cfg.disk != null) [
      "--disk"
      cfg.disk
    ]
    ++ lib.optionals (cfg.instancesMax != null) [
      "--max-instances"
      (toString cfg.instancesMax)
    ]
    ++ lib.optional cfg.egress "--egress";

  pikaci = "${lib.getExe cfg.pikaci} --state-root ${folder}/state";
in
{
  options.services.pikaci-incus = {
    enable = lib.mkEnableOption "Incus, set up for jobs of pikaci";

    pikaci = lib.mkOption {
      type = lib.types.package;
      description = "The package with `bin/pikaci`.";
    };

    image = lib.mkOption {
      type = lib.types.nullOr lib.types.package;
      default = null;
      description = "The image of virtual machines, with `pikaci-image.tar`. Without one, no image is imported.";
    };

    imageAlias = lib.mkOption {
      type = lib.types.str;
      default = "pikaci/dev";
      description = "What jobs call the image.";
    };

    listen = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "127.0.0.1:8443";
      description = "Where Incus serves HTTPS, for clients with the restricted certificate.";
    };

    sharedFolders = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "/var/lib/pika-news" ];
      description = "Folders whose content may be shared with instances: the state roots, and where prepared outputs are.";
    };

    pool = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      description = "The storage pool of instances.";
    };

    disk = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "20GiB";
      description = "The size of an instance's disk.";
    };

    instancesMax = lib.mkOption {
      type = lib.types.nullOr lib.types.int;
      default = null;
      description = "The most instances at once.";
    };

    egress = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether jobs that ask for a network reach beyond this machine.";
    };
  };

  config = lib.mkIf cfg.enable {
    virtualisation.incus.enable = true;
    # Incus on NixOS is for nftables alone.
    networking.nftables.enable = true;
    # Addresses and names for guests, from the bridge that `init-incus` makes.
    networking.firewall.interfaces.pikaci = {
      allowedTCPPorts = [ 53 ];
      allowedUDPPorts = [
        53
        67
      ];
    };

    # What shares of files, and talking to the agent of a virtual machine, need.
    boot.kernelModules = [
      "vhost_vsock"
      "fuse"
    ];

    environment.systemPackages = [ cfg.pikaci ];

    systemd.services.pikaci-incus = {
      description = "Project, profile, network and image of pikaci in Incus";
      wantedBy = [ "multi-user.target" ];
      wants = [ "incus.service" ];
      after = [
        "incus.service"
        "incus-preseed.service"
      ];
      path = [ config.virtualisation.incus.clientPackage ];
      environment = {
        INCUS_SOCKET = "/var/lib/incus/unix.socket";
        # Where the command line client keeps its own settings: there is no home.
        INCUS_CONF = "${folder}/client";
      };

      script = ''
        ${pikaci} init-incus --certificate ${folder} ${lib.escapeShellArgs options}
        # NixOS's boot loader is not signed: Secure Boot would stop it. Containers have no use for the key.
        incus profile set pikaci security.secureboot=false --project pikaci
      ''
      + lib.optionalString (cfg.listen != null) ''
        incus config set core.https_address ${lib.escapeShellArg cfg.listen}
      ''
      + lib.optionalString (cfg.image != null) ''
        ${pikaci} image import ${cfg.image}/pikaci-image.tar --alias ${lib.escapeShellArg cfg.imageAlias}
      '';

      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        StateDirectory = "pikaci-incus";
        StateDirectoryMode = "0700";
        UMask = "0077";
        TimeoutStartSec = 900;
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectKernelTunables = true;
        ProtectKernelModules = true;
        ProtectControlGroups = true;
        RestrictAddressFamilies = [ "AF_UNIX" ];
        RestrictSUIDSGID = true;
        LockPersonality = true;
        SystemCallArchitectures = "native";
      };
    };
  };
}
