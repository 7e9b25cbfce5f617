# What `nix flake check` builds: the packages, and machines that boot with the modules.
{ pkgs, self }:
let
  own = self.packages.${pkgs.stdenv.hostPlatform.system};
in
{
  inherit (own) pikaci pika-news pikaci-incus-run;

  # The forge comes up in its sandbox, answers, and its state folder is its own.
  forge = pkgs.testers.runNixOSTest {
    name = "pika-news";
    nodes.machine = {
      imports = [ self.nixosModules.pika-news ];
      services.pika-news = {
        enable = true;
        settings.repositories = [ { name = "sample"; } ];
        credentials.webhook = "/etc/webhook";
      };
      environment.etc.webhook.text = "not a secret";
    };
    testScript = ''
      machine.wait_for_unit("pika-news.service")
      machine.wait_for_open_port(7800)
      machine.succeed("curl --fail --silent --show-error http://127.0.0.1:7800/news >&2")
      machine.succeed("test $(stat --format=%a:%U /var/lib/pika-news) = 700:pika-news")
      machine.succeed("test -s /run/credentials/pika-news.service/webhook")
    '';
  };

  # A guest has what docs/formats/guest.md says, and nothing listens in it.
  guest = pkgs.testers.runNixOSTest {
    name = "pikaci-guest";
    nodes.machine = {
      imports = [ self.nixosModules.pikaci-image ];
      pikaci.image.runner = own.pikaci-incus-run;
    };
    testScript = ''
      machine.wait_for_unit("multi-user.target")
      machine.succeed("/run/current-system/sw/bin/pikaci-incus-run --version")
      machine.succeed("test $(id --user pikaci) = 1000")
      for folder in ["/workspace/snapshot", "/staged/linux-rust/workspace-deps", "/staged/linux-rust/workspace-build"]:
          machine.succeed(f"test $(stat --format=%U {folder}) = root")
      for folder in ["/artifacts", "/cargo-home", "/cargo-target"]:
          machine.succeed(f"test $(stat --format=%U {folder}) = pikaci")
      machine.succeed("systemctl show --property=KillMode incus-agent.service | grep --line-regexp KillMode=process")
      machine.fail("systemctl cat sshd.service")
      machine.succeed("test -z \"$(ss --listening --tcp --no-header '! src 127.0.0.0/8')\"")
      machine.succeed("getent shadow root | cut --delimiter=: --fields=2 | grep --line-regexp '!'")
    '';
  };
}
