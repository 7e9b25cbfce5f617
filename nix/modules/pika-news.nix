# The forge as a service.
#
# It runs as a user of its own that may write to its state folder and nowhere else. Secrets are files outside the store, and
# reach it as credentials: named in `credentials`, found below $CREDENTIALS_DIRECTORY, readable by this service alone.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.pika-news;

  toml = pkgs.formats.toml { };
  folder = "/var/lib/pika-news";
  # Where systemd puts the credentials of a system service (systemd.exec(5), LoadCredential=).
  credential = name: "/run/credentials/pika-news.service/${name}";

  incusSettings = toml.generate "incus.toml" (
    {
      inherit (cfg.incus) url;
      client_certificate = credential "incus-client.crt";
      client_key = credential "incus-client.key";
      server_certificate = credential "incus-server.crt";
      # It runs here, and sees the state folder under the same path.
      shares_files = true;
    }
    // cfg.incus.settings
  );
in
{
  options.services.pika-news = {
    enable = lib.mkEnableOption "pika-news, a forge that tests every branch";

    package = lib.mkOption {
      type = lib.types.package;
      description = "The package with `bin/pika-news`.";
    };

    pikaci = lib.mkOption {
      type = lib.types.package;
      description = "The package with `bin/pikaci`, which runs the lanes.";
    };

    settings = lib.mkOption {
      type = toml.type;
      default = { };
      example = lib.literalExpression ''
        {
          public_url = "https://pika.example.org";
          ci.slots = 4;
          repositories = [ { name = "sample"; } ];
        }
      '';
      description = ''
        The forge's configuration file. It is in the world-readable store: no secret goes here.
      '';
    };

    credentials = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = {
        "webhook-secret" = "/etc/secrets/webhook";
      };
      description = ''
        Files that the service is given as credentials, by the name that it sees them under. Text and not paths of Nix, which would
        be copied to the store.
      '';
    };

    environment = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      description = "Variables of the service, none of them secret.";
    };

    incus = {
      enable = lib.mkEnableOption "running jobs in Incus instances, over HTTPS with a certificate restricted to one project";
      url = lib.mkOption {
        type = lib.types.str;
        default = "https://127.0.0.1:8443";
        description = "The server.";
      };
      certificates = lib.mkOption {
        type = lib.types.str;
        default = "/var/lib/pikaci-incus";
        description = ''
          The folder with `client.crt`, `client.key` and `server.crt`, which `pikaci init-incus --certificate` makes.
        '';
      };
      settings = lib.mkOption {
        type = toml.type;
        default = { };
        description = "More keys of `incus.toml`, such as pools of images.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = builtins.all (file: !lib.hasPrefix builtins.storeDir file) (
          builtins.attrValues cfg.credentials
        );
        message = "services.pika-news.credentials: a file in the store can be read by everybody; write its path as text.";
      }
    ];

    services.pika-news.settings = {
      data = folder;
      listen = lib.mkDefault "127.0.0.1:7800";
      ci = {
        pikaci = lib.getExe cfg.pikaci;
        executor = lib.mkDefault (if cfg.incus.enable then "incus" else "local");
      };
    };

    services.pika-news.credentials = lib.mkIf cfg.incus.enable {
      "incus-client.crt" = "${cfg.incus.certificates}/client.crt";
      "incus-client.key" = "${cfg.incus.certificates}/client.key";
      "incus-server.crt" = "${cfg.incus.certificates}/server.crt";
    };

    services.pika-news.environment = {
      # Lanes outlive a restart of the service, which ends with a private /tmp.
      TMPDIR = "${folder}/tmp";
      HOME = "${folder}/home";
    }
    // lib.optionalAttrs cfg.incus.enable { PIKACI_INCUS_SETTINGS = "${incusSettings}"; };

    users.users.pika-news = {
      isSystemUser = true;
      group = "pika-news";
      home = folder;
    };
    users.groups.pika-news = { };

    systemd.services.pika-news = {
      description = "Forge that tests every branch";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "pikaci-incus.service"
      ];
      inherit (cfg) environment;
      path = [
        pkgs.git
        pkgs.bubblewrap
      ];

      serviceConfig = {
        ExecStartPre = "${lib.getExe cfg.package} check-config --config ${toml.generate "pika-news.toml" cfg.settings}";
        ExecStart = "${lib.getExe cfg.package} serve --config ${toml.generate "pika-news.toml" cfg.settings}";
        User = "pika-news";
        Group = "pika-news";
        StateDirectory = [
          "pika-news"
          "pika-news/tmp"
          "pika-news/home"
        ];
        StateDirectoryMode = "0700";
        WorkingDirectory = folder;
        UMask = "0077";
        LoadCredential = lib.mapAttrsToList (name: file: "${name}:${file}") cfg.credentials;

        Type = "notify";
        # The forge says so at least every 30 s, as long as each of its parts goes round.
        WatchdogSec = 120;
        # A restart of the forge costs no run: the lanes' processes stay, and the next forge takes them up.
        KillMode = "process";
        Restart = "on-failure";
        RestartSec = 2;
        TimeoutStopSec = 60;

        CapabilityBoundingSet = "";
        AmbientCapabilities = "";
        NoNewPrivileges = true;
        ProtectSystem = "strict";
        ProtectHome = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelModules = true;
        LockPersonality = true;
        RemoveIPC = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_INET"
          "AF_INET6"
        ];
        SystemCallArchitectures = "native";
      }
      # The local executor's sandbox is made of namespaces with a /proc of their own, which the kernel refuses to whom it
      # shows only a part of the host's. Its jobs may also be interpreters that write what they execute.
      // lib.optionalAttrs (cfg.settings.ci.executor != "local") {
        RestrictNamespaces = true;
        ProtectKernelLogs = true;
        ProtectKernelTunables = true;
        MemoryDenyWriteExecute = true;
        ProtectProc = "invisible";
        SystemCallFilter = [
          "@system-service"
          "~@privileged"
        ];
        SystemCallErrorNumber = "EPERM";
      };
    };
  };
}
