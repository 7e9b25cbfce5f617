# nix/README.md says what is here, what of it the tests of this repository build, and how to build the rest.
{
  description = "A forge that tests every branch in a fresh machine";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;

      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem = make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      version = (lib.importTOML ./Cargo.toml).workspace.package.version;
      revision = self.rev or self.dirtyRev or "unknown";

      # What nothing is compiled of changes nothing that is compiled. docs/ stays: tests include it.
      src = lib.fileset.toSource {
        root = ./.;
        fileset = lib.fileset.unions [
          ./Cargo.toml
          ./Cargo.lock
          ./ARCHITECTURE.md
          ./clippy.toml
          ./crates
          ./docs
          ./pikaci.toml
          ./rustfmt.toml
          ./schema
          ./tests
          ./xtask
        ];
      };

      image =
        pkgs:
        (lib.nixosSystem {
          system = null;
          modules = [
            self.nixosModules.pikaci-image
            {
              nixpkgs.pkgs = pkgs;
              pikaci.image = {
                runner = self.packages.${pkgs.stdenv.hostPlatform.system}.pikaci-incus-run;
                inherit revision;
                creationDate = self.lastModified or 1;
              };
              # What jobs of this repository are compiled and run with.
              environment.systemPackages = [
                pkgs.cargo
                pkgs.cargo-nextest
                pkgs.clippy
                pkgs.gcc
                pkgs.git
                pkgs.rustc
                pkgs.rustfmt
              ];
            }
          ];
        }).config.system.build.pikaciImage;

      linuxRust =
        pkgs:
        import ./nix/ci/linux-rust.nix {
          inherit lib src version;
          inherit (pkgs) cargo-nextest rustPlatform;
          craneLib = crane.mkLib pkgs;
          inherit (pkgs.stdenv.cc) libc;
        };

      programs = pkgs: import ./nix/packages.nix { inherit pkgs src version; };
    in
    {
      packages = forEachSystem (
        pkgs:
        let
          outputs = linuxRust pkgs;
        in
        programs pkgs
        // {
          default = (programs pkgs).pikaci;
          pikaci-image = image pkgs;
          linux-rust-workspace-deps = outputs.workspaceDeps;
          linux-rust-workspace-build = outputs.workspaceBuild;
        }
      );

      nixosModules = {
        pikaci-image = ./nix/incus/pikaci-image.nix;

        # With this repository's packages for the options that name one.
        pika-news =
          { lib, pkgs, ... }:
          let
            own = self.packages.${pkgs.stdenv.hostPlatform.system};
          in
          {
            imports = [ ./nix/modules/pika-news.nix ];
            services.pika-news.package = lib.mkDefault own.pika-news;
            services.pika-news.pikaci = lib.mkDefault own.pikaci;
          };

        incus-host =
          { lib, pkgs, ... }:
          {
            imports = [ ./nix/modules/incus-host.nix ];
            services.pikaci-incus.pikaci =
              lib.mkDefault
                self.packages.${pkgs.stdenv.hostPlatform.system}.pikaci;
          };
      };

      checks = forEachSystem (pkgs: import ./nix/checks.nix { inherit pkgs self; });

      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
