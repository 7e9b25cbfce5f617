# What our Nix files say, as values that a test reads. `root` is the repository.
{ root }:
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix lib;
  contract = import (root + "/nix/contract.nix");

  machine =
    modules:
    lib.evalModules {
      inherit modules;
      options = import ./nixos.nix lib;
      arguments = {
        inherit pkgs;
        modulesPath = ./nixos;
      };
    };

  guest = machine [
    (root + "/nix/incus/pikaci-image.nix")
    {
      pikaci.image = {
        runner = pkgs.pikaci-incus-run;
        revision = "0123abc";
        creationDate = 1700000000;
      };
    }
  ];

  forge =
    settings:
    machine [
      (root + "/nix/modules/pika-news.nix")
      { services.pika-news = settings // { inherit (pkgs) pikaci; package = pkgs.pika-news; }; }
    ];

  host =
    settings:
    machine [
      (root + "/nix/modules/incus-host.nix")
      { services.pikaci-incus = settings // { inherit (pkgs) pikaci; }; }
    ];

  flake =
    let
      outputs = (import (root + "/flake.nix")).outputs {
        self = outputs // {
          rev = "0123abc";
          lastModified = 1700000000;
        };
        nixpkgs = {
          lib = lib // {
            nixosSystem =
              { system, modules }:
              {
                config = machine modules;
              };
          };
          legacyPackages = {
            x86_64-linux = pkgs;
            aarch64-linux = pkgs;
          };
        };
        crane.mkLib = _: pkgs.craneLib;
      };
    in
    outputs;

  # Files that Nix wrote, as what is in them.
  read = file: builtins.fromJSON (builtins.readFile file);

  service = machine: name: {
    inherit (machine.systemd.services.${name})
      after
      environment
      script
      serviceConfig
      wantedBy
      wants
      ;
  };
in
{
  contract = removeAttrs contract [ "contractId" ] // {
    contractIdOfGlibc = contract.contractId "/nix/store/00000000000000000000000000000000-glibc-2.40";
  };

  guest = {
    inherit (guest) boot networking users;
    inherit (guest.pikaci.image) properties;
    packages = map (package: package.name) guest.environment.systemPackages;
    agent = {
      inherit (guest.virtualisation.incus.agent) enable;
      inherit (service guest "incus-agent") after serviceConfig;
    };
    sshd = guest.services.openssh.enable;
    cloudInit = guest.services.cloud-init.enable;
    tmpfiles = guest.systemd.tmpfiles.rules;
    network = guest.systemd.network.networks;
    disk = guest.system.build.pikaciImage.environment.passthru.disk.asked;
    metadata = "${guest.system.build.pikaciImage.environment.passthru.metadata}";
    script = guest.system.build.pikaciImage.script;
  };

  forge =
    let
      local = forge {
        enable = true;
        settings.repositories = [ { name = "sample"; } ];
        credentials.webhook = "/etc/secrets/webhook";
      };
      incus = forge {
        enable = true;
        incus.enable = true;
        incus.settings.images."pikaci/dev".pool.size = 2;
      };
      leaking = forge {
        enable = true;
        credentials.webhook = "${builtins.toFile "webhook" "secret"}";
      };
      off = forge { enable = false; };
      failed = machine: map (one: one.message) (builtins.filter (one: !one.assertion) machine.assertions);
    in
    {
      local = service local "pika-news" // {
        settings = local.services.pika-news.settings;
        failed = failed local;
      };
      incus = service incus "pika-news" // {
        settings = incus.services.pika-news.settings;
        incusSettings = read incus.systemd.services.pika-news.environment.PIKACI_INCUS_SETTINGS;
      };
      leaking = failed leaking;
      off = off.systemd.services;
    };

  host =
    let
      small = host { enable = true; };
      whole = host {
        enable = true;
        image = pkgs.pikaci-incus-run // { outPath = "@image@"; };
        pool = "it's";
        disk = "20GiB";
        instancesMax = 8;
        egress = true;
      };
    in
    {
      small = service small "pikaci-incus" // {
        inherit (small) networking boot;
        incus = small.virtualisation.incus.enable;
      };
      whole = service whole "pikaci-incus";
    };

  linuxRust =
    let
      outputs = import (root + "/nix/ci/linux-rust.nix") {
        inherit lib;
        inherit (pkgs) cargo-nextest craneLib rustPlatform;
        libc = pkgs.stdenv.cc.libc;
        src = root;
      };
    in
    builtins.mapAttrs (_: output: {
      inherit (output) asked;
      arguments = removeAttrs output.arguments [
        "cargoArtifacts"
        "nativeBuildInputs"
        "src"
      ];
    }) outputs;

  packages = builtins.mapAttrs (_: package: {
    inherit (package) asked;
    arguments = removeAttrs package.arguments [
      "src"
      "nativeBuildInputs"
      "cargoLock"
    ];
  }) (import (root + "/nix/packages.nix") {
    inherit pkgs;
    src = root;
    version = "1.2.3";
  });

  # The flake, with a stand-in for each of its inputs.
  flake =
    let
      own = flake.packages.x86_64-linux;
      node = name: machine [ flake.checks.x86_64-linux.${name}.nodes.machine ];
    in
    {
      systems = builtins.attrNames flake.packages;
      packages = builtins.attrNames own;
      checks = builtins.attrNames flake.checks.x86_64-linux;
      version = own.pikaci.arguments.version;
      image = builtins.fromJSON (builtins.readFile own.pikaci-image.environment.passthru.metadata);
      outputs = [
        own.linux-rust-workspace-deps.asked
        own.linux-rust-workspace-build.asked
      ];
      forge = (node "forge").systemd.services.pika-news.serviceConfig.LoadCredential;
      guest = map (package: package.name) (node "guest").environment.systemPackages;
      host =
        (machine [
          flake.nixosModules.incus-host
          { services.pikaci-incus.enable = true; }
        ]).systemd.services.pikaci-incus.wantedBy;
    };

  # What the module system of these tests refuses, as nixpkgs' does: without it the tests above would prove little.
  refused =
    let
      fails = modules: !(builtins.tryEval (builtins.deepSeq (machine modules).boot true)).success;
      two = machine [
        { networking.hostName = "one"; }
        { networking.hostName = "two"; }
      ];
      forced = machine [
        { services.openssh.enable = true; }
        ({ lib, ... }: { services.openssh.enable = lib.mkForce false; })
      ];
    in
    {
      unknownOption = fails [ { boot.kernelModule = [ "9p" ]; } ];
      wrongType = fails [ { boot.kernelModules = "9p"; } ];
      twoValues = !(builtins.tryEval two.networking.hostName).success;
      forcedWins = !forced.services.openssh.enable;
      knownOption = !fails [ { boot.kernelModules = [ "9p" ]; } ];
    };
}
