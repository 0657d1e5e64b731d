# U-Boot runs this from the boot partition. The kernel is unpacked well above the place it
# runs from.
setenv bootargs "@command-line@"
load ${devtype} ${devnum}:${distro_bootpart} 0x50000000 kernel
unzip 0x50000000 ${kernel_addr_r}
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} initramfs
# QEMU's device tree, with memory set apart in which the kernel leaves what it said when it panicked
# (pstore): a reset leaves it as it is, and neither U-Boot nor this script puts anything there.
fdt addr ${fdtcontroladdr}
fdt move ${fdtcontroladdr} 0x4f000000 0x100000
fdt mknode / reserved-memory
fdt set /reserved-memory "#address-cells" "<2>"
fdt set /reserved-memory "#size-cells" "<2>"
fdt set /reserved-memory ranges
setenv trace /reserved-memory/ramoops@58000000
fdt mknode /reserved-memory ramoops@58000000
fdt set ${trace} compatible ramoops
fdt set ${trace} reg "<0 0x58000000 0 0x40000>"
fdt set ${trace} record-size "<0x10000>"
fdt set ${trace} max-reason "<1>"
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} 0x4f000000
