# The NixOS image for Incus virtual machines that jobs of pikaci run in: docs/formats/guest.md.
#
# A guest lives for one job. So nobody signs in, nothing listens, and nothing configures the machine from outside: what
# a job needs comes in as mounts and through the agent. `config.system.build.pikaciImage` is what `pikaci image import`
# takes. Add packages as in any NixOS configuration.
{
  config,
  lib,
  pkgs,
  modulesPath,
  ...
}:
let
  contract = import ../contract.nix;
  cfg = config.pikaci.image;

  architecture = pkgs.stdenv.hostPlatform.parsed.cpu.name;

  folder = path: owner: "d ${path} 0755 ${owner} ${owner} -";

  # With all parents, outermost first; tmpfiles would make missing ones with a mode of its own.
  mountPoints = [
    "/workspace"
    contract.snapshot
    contract.staged
    "${contract.staged}/linux-rust"
    contract.workspaceDeps
    contract.workspaceBuild
  ];

  # JSON is YAML. The digest of the runner is known when it is built, which is after this was evaluated.
  metadata = builtins.toFile "metadata.yaml" (
    builtins.unsafeDiscardStringContext (
      builtins.toJSON {
        inherit architecture;
        creation_date = cfg.creationDate;
        properties = cfg.properties // {
          ${contract.properties.runnerDigest} = "@RUNNER_SHA256@";
        };
      }
    )
  );

  disk = import (modulesPath + "/../lib/make-disk-image.nix") {
    inherit config lib pkgs;
    name = "pikaci-disk";
    format = "qcow2-compressed";
    partitionTableType = "efi";
    # Neither nixpkgs' sources nor anything else that changes without changing what jobs see.
    copyChannel = false;
    deterministic = true;
  };
in
{
  imports = [
    (modulesPath + "/profiles/qemu-guest.nix")
    (modulesPath + "/profiles/minimal.nix")
  ];

  options.pikaci.image = {
    runner = lib.mkOption {
      type = lib.types.package;
      description = "The static guest runner, with `bin/pikaci-incus-run`.";
    };
    revision = lib.mkOption {
      type = lib.types.str;
      default = "unknown";
      description = "The revision of the flake that the image is built from.";
    };
    creationDate = lib.mkOption {
      type = lib.types.int;
      default = 1;
      description = "What the image says about when it was made, in seconds since 1970; the revision's date, not the clock's.";
    };
    properties = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      description = "What the image says of itself, beside the digest of its runner.";
    };
  };

  config = {
    pikaci.image.properties = {
      inherit architecture;
      description = "pikaci guest, NixOS ${config.system.nixos.release} ${architecture}";
      os = "NixOS";
      release = config.system.nixos.release;
      # UEFI starts the unsigned boot loader only without Secure Boot; Incus says so instead of hanging.
      "requirements.secureboot" = "false";
      ${contract.properties.contract} = toString contract.version;
      ${contract.properties.contractId} = contract.contractId pkgs.stdenv.cc.libc;
      ${contract.properties.revision} = cfg.revision;
      ${contract.properties.version} = cfg.runner.version;
    };

    # The guest runner, at contract.runBinary.
    environment.systemPackages = [ cfg.runner ];

    # Incus reaches the guest through its agent alone. Jobs are started by it and outlive it: with KillMode=control-group
    # a restart of the agent would take the job along.
    virtualisation.incus.agent.enable = true;
    systemd.services.incus-agent = {
      # It mounts the shares; their folders must not be made over a mount.
      after = [ "systemd-tmpfiles-setup.service" ];
      serviceConfig.KillMode = "process";
    };

    boot.kernelModules = [
      "9p"
      "9pnet_virtio"
      "virtiofs"
      "vsock"
      "vmw_vsock_virtio_transport"
    ];

    users.mutableUsers = false;
    users.users.root.hashedPassword = "!";
    users.users.${contract.user} = {
      isNormalUser = true;
      uid = contract.userId;
      group = contract.user;
      home = "/home/${contract.user}";
      hashedPassword = "!";
    };
    users.groups.${contract.user}.gid = contract.userId;
    # Nobody is meant to sign in: not a mistake here.
    users.allowNoPasswordLogin = true;

    systemd.tmpfiles.rules =
      map (path: folder path "root") mountPoints
      ++ map (path: folder path contract.user) contract.writable;

    services.openssh.enable = lib.mkForce false;
    services.cloud-init.enable = lib.mkForce false;
    security.sudo.enable = false;
    nix.enable = false;
    # Closures of prepared outputs are mounted below it, by the agent, when it makes the folders.
    boot.nixStoreMountOpts = [
      "nodev"
      "nosuid"
    ];

    # The contract's name for the interface. Nothing waits for an address: the default route is set last, and that is what
    # jobs with a network wait for.
    networking = {
      hostName = "pikaci";
      usePredictableInterfaceNames = false;
      useDHCP = false;
      useNetworkd = true;
    };
    systemd.network.networks."10-eth0" = {
      matchConfig.Name = "eth0";
      networkConfig = {
        DHCP = "ipv4";
        LLMNR = "no";
        MulticastDNS = "no";
      };
    };
    systemd.network.wait-online.enable = false;

    fileSystems."/" = {
      device = "/dev/disk/by-label/nixos";
      fsType = "ext4";
      autoResize = true;
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-label/ESP";
      fsType = "vfat";
    };
    boot.growPartition = true;
    boot.loader.systemd-boot.enable = true;
    boot.loader.timeout = 0;
    boot.kernelParams = [ "console=${if pkgs.stdenv.hostPlatform.isx86 then "ttyS0" else "ttyAMA0"}" ];

    system.build.pikaciImage =
      pkgs.runCommand "pikaci-image"
        {
          passthru = {
            inherit disk metadata;
          };
        }
        ''
          runner=$(sha256sum ${cfg.runner}/bin/pikaci-incus-run | cut --delimiter=' ' --fields=1)
          sed "s/@RUNNER_SHA256@/$runner/" ${metadata} > metadata.yaml
          ln --symbolic ${disk}/nixos.qcow2 rootfs.img
          mkdir -p $out
          # The same to the byte for the same content, in the order in which Incus wants to read it.
          tar --create --file $out/pikaci-image.tar --dereference --format=gnu \
            --mtime=@${toString cfg.creationDate} --owner=0 --group=0 --numeric-owner --mode=0644 \
            metadata.yaml rootfs.img
        '';

    system.stateVersion = lib.mkDefault config.system.nixos.release;
  };
}
