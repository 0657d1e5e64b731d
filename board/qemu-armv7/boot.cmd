# U-Boot runs this from the boot partition. The kernel unpacks itself; QEMU's device tree is
# where U-Boot found it.
setenv bootargs "@command-line@"
load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} kernel
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} initramfs
bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}
