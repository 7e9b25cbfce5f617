# The options of NixOS that our modules set, with their types. A module that sets another one is refused, as by NixOS:
# look it up in the manual of NixOS options before it is added here.
lib:
let
  inherit (lib) types;
  option = type: lib.mkOption { inherit type; };
  optional = type: default: lib.mkOption { inherit type default; };
  bool = optional types.bool false;
  texts = optional (types.listOf types.str) [ ];
  packages = optional (types.listOf types.package) [ ];
  variables = optional (types.attrsOf types.str) { };
  section = optional (types.attrsOf types.anything) { };
  setOf = options: optional (types.attrsOf (types.submodule options)) { };
in
{
  assertions = optional (types.listOf types.anything) [ ];

  boot = {
    growPartition = bool;
    kernelModules = texts;
    kernelParams = texts;
    loader.systemd-boot.enable = bool;
    loader.timeout = optional (types.nullOr types.int) 5;
    nixStoreMountOpts = texts;
  };

  environment = {
    systemPackages = packages;
    etc = setOf { text = option types.str; };
  };

  fileSystems = setOf {
    device = option types.str;
    fsType = option types.str;
    autoResize = bool;
  };

  networking = {
    hostName = optional types.str "nixos";
    usePredictableInterfaceNames = optional types.bool true;
    useDHCP = optional types.bool true;
    useNetworkd = bool;
    nftables.enable = bool;
    firewall.interfaces = setOf {
      allowedTCPPorts = optional (types.listOf types.int) [ ];
      allowedUDPPorts = optional (types.listOf types.int) [ ];
    };
  };

  nixpkgs.pkgs = section;

  nix.enable = optional types.bool true;

  security.sudo.enable = optional types.bool true;

  # As nixpkgs' images for Incus have it: what is not forced stays on.
  services.openssh.enable = optional types.bool true;
  services.cloud-init.enable = optional types.bool true;

  system = {
    build = section;
    nixos.release = optional types.str "25.11";
    stateVersion = option types.str;
  };

  systemd = {
    tmpfiles.rules = texts;
    network.networks = setOf {
      matchConfig = section;
      networkConfig = section;
    };
    network.wait-online.enable = optional types.bool true;
    services = setOf {
      description = optional types.str "";
      wantedBy = texts;
      wants = texts;
      after = texts;
      path = packages;
      environment = variables;
      script = optional types.str "";
      serviceConfig = section;
    };
  };

  users = {
    mutableUsers = optional types.bool true;
    allowNoPasswordLogin = bool;
    users = setOf {
      isNormalUser = bool;
      isSystemUser = bool;
      uid = optional (types.nullOr types.int) null;
      group = optional types.str "";
      home = optional types.str "/var/empty";
      hashedPassword = optional (types.nullOr types.str) null;
    };
    groups = setOf { gid = optional (types.nullOr types.int) null; };
  };

  virtualisation.incus = {
    enable = bool;
    agent.enable = bool;
    clientPackage = optional types.package {
      outPath = "@incus-client@";
    };
  };
}
