# Packages that are nothing but their names. What would be built is returned as what was asked for.
lib:
let
  package = name: {
    inherit name;
    outPath = "@${name}@";
    version = "1.2.3";
    meta.mainProgram = name;
  };
  named = names: lib.genAttrs names package;
  asked =
    function: arguments:
    package arguments.pname
    // {
      inherit arguments;
      asked = function;
    };
  pkgs =
    named [
      "bubblewrap"
      "cargo"
      "cargo-nextest"
      "clippy"
      "gcc"
      "git"
      "installShellFiles"
      "makeWrapper"
      "pika-news"
      "pikaci"
      "pikaci-incus-run"
      "rustc"
      "rustfmt"
    ]
    // {
      inherit lib;
      stdenv = {
        hostPlatform = {
          isx86 = true;
          system = "x86_64-linux";
          parsed.cpu.name = "x86_64";
        };
        cc.libc = package "glibc";
      };
      rustPlatform = {
        buildRustPackage = asked "dynamic";
        importCargoLock = arguments: package "vendor" // { inherit arguments; };
      };
      pkgsStatic.rustPlatform.buildRustPackage = asked "static";
      # JSON, which the tests read; that it becomes TOML is nixpkgs'.
      formats.toml = _: {
        type = lib.types.anything;
        generate = name: value: builtins.toFile name (builtins.toJSON value);
      };
      runCommand = name: environment: script: package name // { inherit environment script; };
      nixfmt-tree = package "nixfmt";
      testers.runNixOSTest = test: test;
      craneLib = {
        buildDepsOnly = asked "buildDepsOnly";
        mkCargoDerivation = asked "mkCargoDerivation";
      };
    };
in
pkgs
