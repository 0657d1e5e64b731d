//! Kernel modules: what is loaded, and in which order.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::compile;
use peercam_firmware::modules::{Modules, dependency_file};

/// A kernel's module folder.
struct Kernel(tempfile::TempDir);

impl Kernel {
    fn new() -> Self {
        let kernel = Self(tempfile::tempdir().unwrap());
        kernel.builtin("");
        kernel
    }

    fn builtin(&self, list: &str) {
        std::fs::write(self.0.path().join("modules.builtin"), list).unwrap();
    }

    /// A module that says this of itself, as the kernel's build does it.
    fn module(self, path: &str, info: &[&str]) -> Self {
        let strings: String = info.iter().map(|entry| format!("{entry}\\0")).collect();
        let source = format!(
            "__attribute__((section(\".modinfo\"), used)) static const char i[] = \"{strings}\";"
        );
        compile(&source, &self.0.path().join(path), &["-c"]);
        self
    }

    fn resolve(&self, names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let modules = Modules::open(self.0.path()).unwrap().resolve(&names);
        let modules = modules.map_err(|error| error.to_string())?;
        Ok(modules.into_iter().map(|module| module.file_name).collect())
    }
}

#[test]
fn what_a_module_needs_is_loaded_before_it_and_once() {
    let kernel = Kernel::new()
        .module("kernel/vivid.ko", &["depends=videodev,v4l2-tpg"])
        .module("kernel/v4l2-tpg.ko", &["depends=videodev"])
        .module("kernel/videodev.ko", &["depends=", "license=GPL"]);
    assert_eq!(
        kernel.resolve(&["vivid", "videodev"]).unwrap(),
        ["videodev.ko", "v4l2-tpg.ko", "vivid.ko"]
    );
}

#[test]
fn a_dash_and_an_underscore_are_the_same() {
    let kernel = Kernel::new().module("kernel/snd-aloop.ko", &["depends="]);
    assert_eq!(kernel.resolve(&["snd_aloop"]).unwrap(), ["snd-aloop.ko"]);
}

#[test]
fn what_is_built_into_the_kernel_is_neither_loaded_nor_missing() {
    let kernel = Kernel::new().module("kernel/ext4.ko", &["depends=crc16"]);
    kernel.builtin("kernel/lib/crc16.ko\nkernel/drivers/virtio/virtio_pci.ko\n");
    assert_eq!(kernel.resolve(&["virtio-pci", "ext4"]).unwrap(), ["ext4.ko"]);
}

#[test]
fn a_soft_dependency_is_loaded_before_and_found_by_its_algorithm() {
    let kernel = Kernel::new()
        .module("kernel/ext4.ko", &["softdep=pre: crypto-crc32c post: later", "depends="])
        .module("kernel/crc32c_generic.ko", &["depends="])
        .module("kernel/later.ko", &["depends="]);
    assert_eq!(kernel.resolve(&["ext4"]).unwrap(), ["crc32c_generic.ko", "ext4.ko"]);
}

#[test]
fn a_soft_dependency_that_the_kernel_does_not_have_is_none() {
    let kernel = Kernel::new().module("kernel/ext4.ko", &["softdep=pre: gone", "depends="]);
    assert_eq!(kernel.resolve(&["ext4"]).unwrap(), ["ext4.ko"]);
}

#[test]
fn a_missing_module_is_named_with_who_needs_it() {
    let kernel = Kernel::new().module("kernel/vivid.ko", &["depends=videodev"]);
    let error = kernel.resolve(&["vivid"]).unwrap_err();
    assert!(error.contains("\"videodev\"") && error.contains("needed by vivid"), "{error}");
    let error = kernel.resolve(&["vivd"]).unwrap_err();
    assert!(error.contains("\"vivd\"") && error.contains("kernel.modules"), "{error}");
}

#[test]
fn modules_that_need_each_other_are_an_error_and_no_endless_loop() {
    let kernel =
        Kernel::new().module("kernel/a.ko", &["depends=b"]).module("kernel/b.ko", &["depends=a"]);
    let error = kernel.resolve(&["a"]).unwrap_err();
    assert!(error.contains("a, b") && error.contains("circle"), "{error}");
}

#[test]
fn a_compressed_module_is_unpacked() {
    let kernel = Kernel::new().module("kernel/vivid.ko", &["depends="]);
    let path = kernel.0.path().join("kernel/vivid.ko");
    let plain = std::fs::read(&path).unwrap();
    assert!(Command::new("xz").arg(&path).status().unwrap().success());
    let modules = Modules::open(kernel.0.path()).unwrap().resolve(&["vivid".to_owned()]).unwrap();
    assert_eq!(modules[0].data, plain);
}

#[test]
fn a_file_that_is_no_module_is_named() {
    let kernel = Kernel::new();
    std::fs::write(kernel.0.path().join("vivid.ko"), "not a module").unwrap();
    let error = kernel.resolve(&["vivid"]).unwrap_err();
    assert!(error.contains("vivid.ko") && error.contains("not a module"), "{error}");
}

#[test]
fn the_dependency_file_lists_everything_with_the_first_to_load_last() {
    let kernel = Kernel::new()
        .module("a/vivid.ko", &["depends=videodev,v4l2-tpg"])
        .module("a/v4l2-tpg.ko", &["depends=videodev"])
        .module("a/videodev.ko", &["depends=mc"])
        .module("a/mc.ko", &["depends="]);
    let modules = Modules::open(Path::new(kernel.0.path())).unwrap();
    let modules = modules.resolve(&["vivid".to_owned()]).unwrap();
    assert_eq!(
        dependency_file(&modules),
        "mc.ko:\nvideodev.ko: mc.ko\nv4l2-tpg.ko: videodev.ko mc.ko\n\
         vivid.ko: v4l2-tpg.ko videodev.ko mc.ko\n"
    );
}
