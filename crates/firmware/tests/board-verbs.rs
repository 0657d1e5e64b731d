//! `board list`, `board check`, `board new`: the boards of a source tree, and what a person
//! is told of mistakes in them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{CAMERA, Ended, Tree};

/// A tree whose board has all that a build takes.
fn whole() -> Tree {
    Tree::new()
        .file("board/base/agent.toml", "[video]\nsource = \"test\"\n")
        .file("board/base/boot.cmd", "setenv bootargs \"@command-line@\"\n")
}

/// The lines of what is wrong, without the tree's own path.
fn problems(tree: &Tree, ended: &Ended) -> Vec<String> {
    assert_eq!(ended.code(), 2, "{}{}", ended.stdout(), ended.stderr());
    let root = format!("{}/", tree.path("").display()).replace("//", "/");
    ended.stdout().lines().map(|line| line.replace(&root, "")).collect()
}

#[track_caller]
fn assert_line(lines: &[String], start: &str, words: &[&str]) {
    let found = lines
        .iter()
        .any(|line| line.starts_with(start) && words.iter().all(|word| line.contains(word)));
    assert!(found, "no line {start:?} with {words:?} in {lines:#?}");
}

#[test]
fn boards_are_listed_with_what_they_are() {
    let tree = whole()
        .file("board/door/board.toml", format!("{CAMERA}description = \"by the door\"\n"))
        .file("board/lost/board.toml", "inherits = \"nothing\"\n");
    let ended = tree.run(&["board", "list"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let text = ended.stdout();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "camera  arm64  a camera");
    assert_eq!(lines[1], "door    arm64  by the door");
    assert!(lines[2].contains("board check lost"), "{text}");

    let json = tree.run(&["board", "list", "--json"]).stdout();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["name"], "door");
    assert_eq!(json[1]["architecture"], "arm64");
    assert_eq!(json[2]["architecture"], serde_json::Value::Null);
}

#[test]
fn a_tree_without_mistakes_passes() {
    let tree = whole().file("board/camera-dev/board.toml", "inherits = \"camera\"\n");
    let ended = tree.run(&["board", "check"]);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout(), ended.stderr());
    assert_eq!(ended.stdout(), "");
}

#[test]
fn every_mistake_is_a_line_with_file_line_and_way_out() {
    let own = format!(
        "{CAMERA}consoles = [\"/dev/ttyS0\"]\nrespawn = [\"/etc/init.d/nothing\"]\n\
         [kernel]\ncommand-line = [\n  \"a b\",\n]\n\
         [budgets]\nroot = \"90 MB\"\n\
         [files]\n\"/usr/bin/x\" = \"X!\"\n\
         [gstreamer]\nelements = [\"x264enc\"]\n"
    );
    let tree = whole().file("board/camera/board.toml", own);
    let lines = problems(&tree, &tree.run(&["board", "check", "camera"]));
    let file = "board/camera/board.toml";
    assert_line(&lines, &format!("{file}:5: "), &["consoles", "ttyAMA0"]);
    assert_line(&lines, &format!("{file}:9: "), &["kernel.command-line", "one word"]);
    assert_line(&lines, &format!("{file}:12: "), &["budgets.root", "budgets.total"]);
    assert_line(&lines, &format!("{file}:12: "), &["budgets.root", "image.root-size"]);
    assert_line(&lines, &format!("{file}:14: "), &["files", "leading slash"]);
    assert_line(&lines, &format!("{file}:14: "), &["X!", "libc6"]);
    assert_line(&lines, &format!("{file}:16: "), &["x264enc", "gst-inspect-1.0"]);
    assert_eq!(lines.len(), 7, "{lines:#?}");
}

#[test]
fn a_mistake_in_a_shared_file_is_named_once_and_there() {
    let tree = whole()
        .file("board/common.toml", "[image]\nroot_size = \"1 MiB\"\n")
        .file("board/camera/board.toml", CAMERA.replace("base", "common"))
        .file("board/door/board.toml", CAMERA.replace("base", "common"))
        .file("board/unused.toml", "[budgets]\nroot = \"7\"\n");
    let lines = problems(&tree, &tree.run(&["board", "check"]));
    assert_line(&lines, "board/common.toml:2: ", &["root_size", "root-size"]);
    assert_line(&lines, "board/unused.toml:2: ", &["20 MB"]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[test]
fn a_value_that_is_inherited_is_blamed_on_the_file_that_has_it() {
    let base = format!("{}\n[kernel.module-options]\nvivid = \"n\"\n", common::BASE);
    let line = base.lines().position(|line| line.starts_with("vivid")).unwrap() + 1;
    let tree = whole().file("board/base.toml", base);
    let lines = problems(&tree, &tree.run(&["board", "check", "camera"]));
    assert_line(&lines, &format!("board/base.toml:{line}: "), &["vivid", "kernel.modules.boot"]);
}

#[test]
fn the_files_that_a_build_takes_have_to_be_there_and_to_be_read() {
    let bare = Tree::new();
    let lines = problems(&bare, &bare.run(&["board", "check", "camera"]));
    assert_line(&lines, "board/camera/board.toml: ", &["agent.toml", "write one"]);
    assert_line(&lines, "board/camera/board.toml: ", &["boot.cmd", "write one"]);

    let tree = whole()
        .file("board/camera/agent.toml", "[video]\nsource =\n")
        .file("board/camera/boot.cmd", "booti\n")
        .file("board/camera/overlay/bin/sh", "")
        .file("board/camera/agnet.toml", "")
        .file("board/stray/overlay/x", "")
        .file("board/camera/board.toml", format!("{CAMERA}respawn = [\"/etc/gone\"]\n"))
        .file("board/Front_Door/board.toml", "inherits = \"camera\"\n");
    let lines = problems(&tree, &tree.run(&["board", "check"]));
    assert_line(&lines, "board/camera/agent.toml:2: ", &[]);
    assert_line(&lines, "board/camera/boot.cmd: ", &["@command-line@", "setenv bootargs"]);
    assert_line(&lines, "board/camera/overlay/bin: ", &["/usr/bin"]);
    assert_line(&lines, "board/camera/agnet.toml: ", &["nothing reads", "agent.toml"]);
    assert_line(&lines, "board/stray: ", &["stray.toml"]);
    assert_line(&lines, "board/camera/board.toml:5: ", &["respawn", "/etc/gone", "overlay"]);
    assert_line(&lines, "board/Front_Door/board.toml: ", &["front-door"]);
}

#[test]
fn a_program_to_respawn_may_come_from_an_overlay_or_a_package() {
    let own = format!(
        "{CAMERA}respawn = [\"/etc/own\", \"/etc/shared\", \"/usr/bin/x\"]\n\
         [files]\n\"usr/bin/x\" = \"xx\"\n"
    );
    let tree = whole()
        .file("board/camera/board.toml", own)
        .file("board/base/overlay/etc/own", "")
        .file("rootfs-overlay/etc/shared", "");
    let ended = tree.run(&["board", "check"]);
    assert_eq!(ended.code(), 0, "{}", ended.stdout());
}

#[test]
fn a_new_board_is_two_lines_and_passes() {
    let tree = whole();
    let ended = tree.run(&["board", "new", "front-door", "--from", "camera"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert_eq!(ended.stdout().trim(), "board/front-door/board.toml");
    let text = std::fs::read_to_string(tree.path("board/front-door/board.toml")).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(tree.run(&["board", "check"]).code(), 0);
    assert_eq!(tree.board("front-door").unwrap().target, "aarch64-unknown-linux-gnu");
}

#[test]
fn a_variant_for_development_has_a_shell_and_a_test_picture() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board");
    let read = |path: &str| std::fs::read(source.join(path)).unwrap();
    let tree = whole()
        .file("board/dev.toml", read("dev.toml"))
        .file("board/dev/agent.toml", read("dev/agent.toml"))
        .file("board/camera/agent.toml", "[video]\nsource = \"v4l2\"\n");
    let ended = tree.run(&["board", "new", "camera-dev", "--from", "camera", "--dev"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let text = std::fs::read_to_string(tree.path("board/camera-dev/board.toml")).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let board = tree.board("camera-dev").unwrap();
    assert!(board.serial_shell);
    let agent = std::fs::read_to_string(board.agent_config().unwrap()).unwrap();
    assert!(agent.contains("source = \"test\""), "{agent}");
    assert!(agent.contains("udp-ports = "), "`run` forwards only these: {agent}");
    assert_eq!(tree.run(&["board", "check"]).code(), 0);
}

#[test]
fn what_a_new_board_still_lacks_is_said() {
    let tree = whole();
    let ended = tree.run(&["board", "new", "own", "--from", "base"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(ended.stderr().contains("`architecture` is missing"), "{}", ended.stderr());
    assert!(ended.stderr().contains("board check own"), "{}", ended.stderr());
}

#[test]
fn a_new_board_that_can_not_be_is_refused_and_nothing_is_written() {
    let tree = whole();
    for (name, from, word) in [
        ("Front_Door", "camera", "front-door"),
        ("../door", "camera", "front-door"),
        ("camera", "base", "already"),
        ("base", "camera", "already"),
        ("door", "camrea", "base, camera"),
        ("door", "../board/camera", "base, camera"),
    ] {
        let ended = tree.run(&["board", "new", name, "--from", from]);
        assert_eq!(ended.code(), 2, "{name}");
        assert!(ended.stderr().contains(word), "{name}: {}", ended.stderr());
    }
    let ended = tree.run(&["board", "new", "door", "--from", "camera", "--dev"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr().contains("nothing named \"dev\""), "{}", ended.stderr());
    assert!(!tree.path("board/door").exists());
}

#[test]
fn every_board_of_the_source_tree_passes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
        .args(["board", "check"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
