# The prepared outputs of a Rust workspace: what its jobs would otherwise build again in every guest.
#
# - workspaceDeps: the sources and the compiled code of all dependencies. It changes with Cargo.lock and the manifests.
# - workspaceBuild: the programs and all tests, as a nextest archive. It changes with the sources.
#
# Guests have them, read-only, at contract.workspaceDeps and contract.workspaceBuild. Nothing of them is ever copied into a
# guest: jobs run tests straight from the archive, and a job that compiles points cargo at the sources.
{
  lib,
  # crane, https://crane.dev
  craneLib,
  rustPlatform,
  cargo-nextest,
  libc,
  # The workspace, with its Cargo.lock.
  src,
  pname ? "pika",
  version ? "0.1.0",
  # What the programs in workspaceBuild are called.
  programs ? [
    "pikaci"
    "pika-news"
  ],
  # What C code among the dependencies is compiled with.
  nativeBuildInputs ? [ ],
  buildInputs ? [ ],
}:
let
  contract = import ../contract.nix;

  payloadManifest = import ./payload-manifest.nix;

  # Written without a builder: it refers to nothing in the store.
  manifest =
    name: entries:
    builtins.toFile "payload-manifest.json" (payloadManifest {
      inherit name entries;
      contractId = contract.contractId libc;
    });

  installManifest = file: ''
    install -D --mode=0444 ${file} "$out/${contract.payloadManifest}"
  '';

  vendored = rustPlatform.importCargoLock { lockFile = src + "/Cargo.lock"; };

  # Tests are run as people run them, with debug assertions.
  common = {
    inherit
      src
      pname
      version
      nativeBuildInputs
      buildInputs
      ;
    strictDeps = true;
    CARGO_PROFILE = "dev";
    CARGO_INCREMENTAL = "0";
    CARGO_PROFILE_DEV_DEBUG = "0";
  };

  workspaceDeps = craneLib.buildDepsOnly (
    common
    // {
      cargoExtraArgs = "--workspace --locked";
      # Files, not an archive: a job reads what it needs of a mounted folder.
      installCargoArtifactsMode = "use-symlink";
      postInstall = ''
        cp --recursive --dereference --no-preserve=mode ${vendored} "$out/vendor"
        cat > "$out/cargo-config.toml" <<'END'
        [source.crates-io]
        replace-with = "vendored-sources"

        [source.vendored-sources]
        directory = "${contract.workspaceDeps}/vendor"
        END
      ''
      + installManifest (
        manifest "workspace-deps" [
          {
            name = "vendor";
            path = "vendor";
            kind = "cargo-vendor";
          }
          {
            name = "cargo-config";
            path = "cargo-config.toml";
            kind = "cargo-config";
          }
          {
            name = "target";
            path = "target";
            kind = "cargo-target";
          }
        ]
      );
    }
  );

  workspaceBuild = craneLib.mkCargoDerivation (
    common
    // {
      pnameSuffix = "-build";
      cargoArtifacts = workspaceDeps;
      nativeBuildInputs = nativeBuildInputs ++ [ cargo-nextest ];
      doInstallCargoArtifacts = false;
      # Tests are for the guests.
      doCheck = false;
      buildPhaseCargoCommand = ''
        cargo build --workspace --bins --locked
        cargo nextest archive --workspace --locked --archive-file tests.tar.zst
      '';
      installPhaseCommand = ''
        install -D --mode=0444 tests.tar.zst "$out/tests.tar.zst"
        for program in ${lib.concatStringsSep " " programs}; do
          install -D --mode=0555 "target/debug/$program" "$out/bin/$program"
        done
      ''
      + installManifest (
        manifest "workspace-build" (
          [
            {
              name = "tests";
              path = "tests.tar.zst";
              kind = "nextest-archive";
            }
          ]
          ++ map (program: {
            name = program;
            path = "bin/${program}";
            kind = "program";
          }) programs
        )
      );
    }
  );
in
{
  inherit workspaceDeps workspaceBuild;
}
