//! The ELF closure, on small files that the host's compiler made.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::compile;
use peercam_firmware::board::Architecture;
use peercam_firmware::closure::{Closure, Error, Origin, Packages};
use peercam_firmware::{debian, elf};

/// Packages that are folders; those in `later` are at hand only after a search.
struct Folders {
    root: tempfile::TempDir,
    at_hand: Vec<String>,
    later: Vec<String>,
}

impl Folders {
    fn new(at_hand: &[&str], later: &[&str]) -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Self { root: tempfile::tempdir().unwrap(), at_hand: names(at_hand), later: names(later) }
    }

    fn path(&self, package: &str, path: &str) -> PathBuf {
        let path = self.root.path().join(package).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A library of `package`, linked to libraries that are there already.
    fn library(&self, package: &str, path: &str, needs: &[&Path]) -> PathBuf {
        let output = self.path(package, path);
        let name = output.file_name().unwrap().to_str().unwrap().to_owned();
        let soname = format!("-Wl,-soname,{name}");
        let mut arguments = vec!["-shared", "-nostdlib", "-fPIC", "-Wl,--no-as-needed", &soname];
        arguments.extend(needs.iter().map(|path| path.to_str().unwrap()));
        compile("int x;", &output, &arguments);
        // The closure works on the boards' files; the host's compiler made this one.
        patch_machine(&output);
        output
    }

    fn close(&mut self, path: &str, package: &str) -> Result<BTreeMap<PathBuf, Origin>, Error> {
        let mut closure = Closure::new(self, Architecture::Arm64);
        closure.add(Path::new(path), package)?;
        Ok(closure.into_files())
    }
}

/// `e_machine` is at offset 18 of every little-endian ELF file.
fn patch_machine(path: &Path) {
    let mut data = std::fs::read(path).unwrap();
    data[18..20].copy_from_slice(&Architecture::Arm64.elf_machine().to_le_bytes());
    std::fs::write(path, data).unwrap();
}

/// The linker doesn't take a library for another machine, so it is shown an empty one of
/// the host's with the same name.
fn stand_in(folder: &Path, name: &str) -> PathBuf {
    let output = folder.join(name);
    let soname = format!("-Wl,-soname,{name}");
    compile("int y;", &output, &["-shared", "-nostdlib", "-fPIC", &soname]);
    output
}

impl Packages for Folders {
    fn find(&self, path: &Path) -> Option<Origin> {
        self.at_hand.iter().find_map(|package| {
            let source = self.root.path().join(package).join(path);
            source.symlink_metadata().ok()?;
            Some(Origin { package: package.clone(), source })
        })
    }

    fn widen(&mut self, _: &str, _: &str) -> Result<bool, debian::Error> {
        let next = self.later.pop();
        let found = next.is_some();
        self.at_hand.extend(next);
        Ok(found)
    }
}

fn paths(files: &BTreeMap<PathBuf, Origin>) -> Vec<&str> {
    files.keys().map(|path| path.to_str().unwrap()).collect()
}

#[test]
fn a_library_brings_what_it_needs_and_what_that_needs() {
    let mut folders = Folders::new(&["a", "b", "c"], &[]);
    let scratch = tempfile::tempdir().unwrap();
    let (b, c) = (stand_in(scratch.path(), "libb.so.1"), stand_in(scratch.path(), "libc.so.6"));
    folders.library("a", "usr/lib/liba.so.0", &[&b]);
    folders.library("b", "usr/lib/aarch64-linux-gnu/libb.so.1", &[&c]);
    folders.library("c", "usr/lib/libc.so.6", &[]);
    folders.library("c", "usr/lib/libunused.so", &[]);
    let files = folders.close("usr/lib/liba.so.0", "a").unwrap();
    assert_eq!(
        paths(&files),
        ["usr/lib/aarch64-linux-gnu/libb.so.1", "usr/lib/liba.so.0", "usr/lib/libc.so.6"]
    );
}

#[test]
fn a_link_brings_the_file_it_points_to() {
    let mut folders = Folders::new(&["a"], &[]);
    folders.library("a", "usr/lib/liba.so.0.1", &[]);
    std::os::unix::fs::symlink("liba.so.0.1", folders.path("a", "usr/lib/liba.so.0")).unwrap();
    let files = folders.close("usr/lib/liba.so.0", "a").unwrap();
    assert_eq!(paths(&files), ["usr/lib/liba.so.0", "usr/lib/liba.so.0.1"]);
}

#[test]
fn a_library_is_searched_for_in_packages_that_are_not_at_hand_yet() {
    let mut folders = Folders::new(&["a"], &["b", "unrelated"]);
    let scratch = tempfile::tempdir().unwrap();
    let b = stand_in(scratch.path(), "libb.so.1");
    folders.library("a", "usr/lib/liba.so.0", &[&b]);
    folders.library("b", "usr/lib/libb.so.1", &[]);
    let files = folders.close("usr/lib/liba.so.0", "a").unwrap();
    assert_eq!(files[Path::new("usr/lib/libb.so.1")].package, "b");
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let mut folders = Folders::new(&["a"], &["b"]);
    let scratch = tempfile::tempdir().unwrap();
    let b = stand_in(scratch.path(), "libgone.so.1");
    folders.library("a", "usr/lib/liba.so.0", &[&b]);
    let error = folders.close("usr/lib/liba.so.0", "a").unwrap_err().to_string();
    for word in ["libgone.so.1", "usr/lib/liba.so.0", "(of a)"] {
        assert!(error.contains(word), "{word} is not in: {error}");
    }
}

#[test]
fn a_file_that_its_package_does_not_have_is_named_with_the_package() {
    let error = Folders::new(&["a"], &[]).close("usr/bin/gone", "a").unwrap_err().to_string();
    assert!(error.contains("package a has no file usr/bin/gone"), "{error}");
}

#[test]
fn a_link_to_nothing_is_named_with_its_target() {
    let mut folders = Folders::new(&["a"], &[]);
    std::os::unix::fs::symlink("/etc/alternatives/x", folders.path("a", "usr/bin/x")).unwrap();
    let error = folders.close("usr/bin/x", "a").unwrap_err().to_string();
    assert!(error.contains("usr/bin/x") && error.contains("etc/alternatives/x"), "{error}");
}

#[test]
fn a_program_for_another_processor_is_refused() {
    let mut folders = Folders::new(&["a"], &[]);
    stand_in(folders.path("a", "usr/lib/x").parent().unwrap(), "libhost.so");
    let error = folders.close("usr/lib/libhost.so", "a").unwrap_err().to_string();
    assert!(error.contains("libhost.so") && error.contains("not for arm64"), "{error}");
}

#[test]
fn a_folder_is_taken_whole_and_text_needs_nothing() {
    let mut folders = Folders::new(&["a"], &[]);
    std::fs::write(folders.path("a", "usr/share/x/one"), "1").unwrap();
    std::fs::write(folders.path("a", "usr/share/x/more/two"), "2").unwrap();
    let files = folders.close("usr/share/x", "a").unwrap();
    assert_eq!(paths(&files), ["usr/share/x/more/two", "usr/share/x/one"]);
}

#[test]
fn a_program_names_its_dynamic_linker_libraries_and_run_path() {
    let scratch = tempfile::tempdir().unwrap();
    let program = scratch.path().join("program");
    compile("int main(void) { return 0; }", &program, &["-Wl,-rpath,$ORIGIN/../lib:/opt/lib"]);
    let needs = elf::needs(&std::fs::read(program).unwrap()).unwrap().unwrap();
    assert_eq!(needs.run_path, ["$ORIGIN/../lib", "/opt/lib"]);
    assert!(needs.libraries.iter().any(|library| library.starts_with("libc.so")), "{needs:?}");
    assert!(needs.interpreter.unwrap().contains("/ld-"));
}

#[test]
fn a_damaged_elf_file_is_an_error_and_never_a_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = std::fs::read(stand_in(scratch.path(), "libx.so")).unwrap();
    for length in 4..whole.len().min(2_000) {
        // Any answer will do, as long as there is one.
        let _ = elf::needs(&whole[..length]);
    }
    assert!(elf::needs(&whole[..40]).is_err());
    assert_eq!(elf::needs(b"#!/bin/sh\n"), Ok(None));
}
