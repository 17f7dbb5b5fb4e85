//! `ringway top` in a real terminal (tmux), and its one frame for scripts.

use crate::harness::ringway::binary;
use crate::harness::{Folder, Origin, Reply, Ringway, wait_until};
use std::process::Command;

/// A terminal of its own, with its own server; it ends with the test.
struct Tmux {
    folder: Folder,
}

impl Tmux {
    /// Runs `command` in a shell, so that what is left of the screen can be looked at afterwards.
    fn start(columns: u16, rows: u16) -> Tmux {
        let tmux = Tmux { folder: Folder::new() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        tmux.tell(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "env PS1='ready> ' sh",
        ]);
        tmux.shows("ready>");
        tmux
    }

    #[track_caller]
    fn tell(&self, words: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let output = Command::new("tmux")
            .arg("-S")
            .arg(socket)
            .args(words)
            .env("TERM", "xterm-256color")
            .env_remove("TMUX")
            .output()
            .expect("tmux is installed");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        let mut screen = String::new();
        wait_until(&format!("the screen shows {text:?}"), || {
            screen = self.screen();
            screen.contains(text)
        });
    }

    fn press(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.folder.path().join("tmux");
        // It may have ended with its last session.
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

fn configuration(origins: [&Origin; 2]) -> String {
    let [one, two] = origins.map(Origin::address);
    format!(
        "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n\
         upstream \"origin\" {{ endpoint \"{one}\"; endpoint \"{two}\"; balance \"round-robin\"; }}\n\
         site \"*\" {{ route \"/\" upstream=\"origin\"; }}\n"
    )
}

both! {
    fn one_frame_for_scripts_has_everything(io) {
        let (fine, broken) = (Origin::ok("x"), Origin::start(|_| Reply::bytes("nonsense\r\n\r\n").then_close()));
        let ringway = Ringway::start(&configuration([&fine, &broken]), io);
        for _ in 0..4 {
            ringway.client().get("/some/path");
        }
        wait_until("failures are remembered", || ringway.counted("ringway_decisions_kept") >= 2);
        let (status, out, error) = ringway.command(&["top", "--once", "--interval", "100"]);
        assert_eq!(status, Some(0), "{error}");
        let addresses = [fine.address().to_string(), broken.address().to_string()];
        for part in ["ready", "latency", "worker", "upstream_malformed", "/some/path", "* /", &addresses[0], &addresses[1]] {
            assert!(out.contains(part), "{part:?} is missing:\n{out}");
        }
        assert!(!out.contains('\u{1b}'), "no colours for scripts");
        ringway.stop_after((fine, broken));
    }

    fn a_terminal_shows_it_takes_keys_and_is_given_back(io) {
        let (one, two) = (Origin::ok("x"), Origin::ok("y"));
        let ringway = Ringway::start(&configuration([&one, &two]), io);
        let tmux = Tmux::start(130, 40);
        let run = format!("{} top --interval 100 --admin {}", binary(), ringway.admin_address());
        tmux.press(&[&run, "Enter"]);
        tmux.shows("q quit");
        tmux.shows(&two.address().to_string());

        // Another size, and nothing beyond its edge.
        tmux.tell(&["resize-window", "-x", "90", "-y", "30"]);
        wait_until("the keys stand in the last line of the smaller window", || {
            let screen = tmux.screen();
            let lines: Vec<&str> = screen.lines().collect();
            lines.len() == 30 && lines[29].starts_with("q quit")
        });
        // A filter leaves one endpoint, which is drained after a question.
        tmux.press(&["f", &two.address().port().to_string(), "Enter"]);
        wait_until("the other endpoint is filtered out", || {
            !tmux.screen().contains(&format!("{} ", one.address()))
        });
        tmux.press(&["d"]);
        tmux.shows("the state drain? y/n");
        tmux.press(&["n"]);
        tmux.shows("q quit");
        assert!(!ringway.upstream().to_string().contains("\"service\":\"drain\""), "nobody has said yes");
        tmux.press(&["d"]);
        tmux.shows("the state drain? y/n");
        tmux.press(&["y"]);
        tmux.shows("has the state drain now");
        let upstream = ringway.upstream();
        let drained = upstream["endpoints"].as_array().expect("a list").iter().find(|one| one["service"] == "drain");
        assert_eq!(drained.expect("one is drained")["address"], two.address().to_string());

        // However it ends, the shell is there again, and echoes.
        let back = |said: &str| {
            wait_until("the first screen is back", || !tmux.screen().contains("q quit"));
            tmux.press(&[&format!("echo {said}"), "Enter"]);
            wait_until("the shell is back", || tmux.screen().lines().any(|line| line == said));
        };
        tmux.press(&["q"]);
        back("after-q");
        tmux.press(&[&run, "Enter"]);
        tmux.shows("q quit");
        tmux.press(&["C-c"]);
        back("after-interrupt");
        let file = tmux.folder.path().join("pid");
        tmux.press(&[&format!("sh -c 'echo $$ > {}; exec {run}'", file.display()), "Enter"]);
        tmux.shows("q quit");
        let pid = std::fs::read_to_string(file).expect("its id");
        assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().expect("kill runs").success());
        back("after-a-signal");
        drop(tmux);
        ringway.stop_after((one, two));
    }
}
