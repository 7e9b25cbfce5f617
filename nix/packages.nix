# The programs of this repository. `pkgs` is nixpkgs, `src` the repository.
{
  pkgs,
  src,
  version,
}:
let
  inherit (pkgs) lib;

  build =
    platform: arguments:
    platform.rustPlatform.buildRustPackage (
      {
        inherit version src;
        cargoLock.lockFile = src + "/Cargo.lock";
        strictDeps = true;
        # `cargo xtask test` runs the tests: they need Incus and virtual machines, which no build has.
        doCheck = false;
        meta.platforms = lib.platforms.linux;
      }
      // arguments
    );

  # Programs that are started by name are found after those of the caller's own path.
  withPrograms = program: programs: ''
    wrapProgram "$out/bin/${program}" --suffix PATH : ${lib.makeBinPath programs}
  '';
in
{
  pikaci = build pkgs {
    pname = "pikaci";
    cargoBuildFlags = [
      "--package"
      "pikaci-cli"
    ];
    nativeBuildInputs = [
      pkgs.makeWrapper
      pkgs.installShellFiles
    ];
    postInstall = ''
      for shell in bash fish zsh; do
        "$out/bin/pikaci" completions $shell > pikaci.$shell
      done
      installShellCompletion pikaci.{bash,fish,zsh}
    ''
    + withPrograms "pikaci" [
      pkgs.bubblewrap
      pkgs.git
    ];
    meta.mainProgram = "pikaci";
  };

  pika-news = build pkgs {
    pname = "pika-news";
    cargoBuildFlags = [
      "--package"
      "pika-news"
    ];
    nativeBuildInputs = [ pkgs.makeWrapper ];
    # Hooks are links to the program itself, so what a hook needs is not in a wrapper: git runs it with its own path.
    postInstall = withPrograms "pika-news" [ pkgs.git ];
    meta.mainProgram = "pika-news";
  };

  # One static file, for images and for other distributions: musl, no loader.
  pikaci-incus-run = build pkgs.pkgsStatic {
    pname = "pikaci-incus-run";
    buildType = "guest";
    cargoBuildFlags = [
      "--package"
      "pikaci-incus-run"
    ];
    doInstallCheck = true;
    installCheckPhase = ''
      if $READELF --program-headers "$out/bin/pikaci-incus-run" | grep --quiet INTERP; then
        echo "the guest runner is not static" >&2
        exit 1
      fi
      # docs/formats/guest.md
      test "$(stat --format=%s "$out/bin/pikaci-incus-run")" -lt 1572864
    '';
    meta.mainProgram = "pikaci-incus-run";
  };
}
