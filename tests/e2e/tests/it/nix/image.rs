//! `pikaci image build --nix`: what Nix has built becomes an image.

use std::fs;

use e2e::Finished;

use super::Store;

/// A flake that needs nothing of elsewhere. Its attribute `pikaci-image` is a folder as `nix/incus/pikaci-image.nix` makes
/// it, `empty` is one without an image.
const FLAKE: &str = r#"{
  outputs = { self }: {
    packages.x86_64-linux = let
      tools = "${./tools}";
      built = name: script: derivation {
        inherit name;
        system = "x86_64-linux";
        builder = "${tools}/busybox";
        args = [ "sh" "-c" "b=${tools}/busybox; $b mkdir $out; ${script}" ];
      };
    in {
      pikaci-image = built "image" "echo image > $out/pikaci-image.tar";
      empty = built "empty" "echo nothing > $out/other";
      broken = built "broken" "exit 7";
    };
  };
}
"#;

#[test]
fn the_image_of_a_flake_is_written_where_it_is_wanted_and_what_is_none_is_said() {
    let store = Store::new();
    let flake = tempfile::tempdir().unwrap();
    fs::create_dir(flake.path().join("tools")).unwrap();
    fs::copy("/bin/busybox", flake.path().join("tools/busybox")).expect("busybox-static is installed");
    fs::write(flake.path().join("flake.nix"), FLAKE).unwrap();
    let build = |arguments: &[&str]| {
        let mut command = store.command(e2e::pikaci().to_str().unwrap());
        command.current_dir(flake.path()).args(["image", "build", "--output", "image.tar"]).args(arguments);
        Finished::of(&mut command)
    };
    build(&["--nix"]).expect(0);
    assert_eq!(fs::read_to_string(flake.path().join("image.tar")).unwrap(), "image\n");
    let empty = build(&["--nix", ".#empty"]).expect(3);
    assert!(empty.errors.contains("holds no pikaci-image.tar"), "{}", empty.errors);
    let broken = build(&["--nix", ".#broken"]).expect(3);
    assert!(broken.errors.contains("nix build .#broken: it ended with"), "{}", broken.errors);
    let both = build(&["--nix", "--recipe", "busybox"]).expect(2);
    assert!(both.errors.contains("--recipe"), "{}", both.errors);
}
