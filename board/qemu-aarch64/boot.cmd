# U-Boot runs this from the boot partition. The kernel is unpacked well above the place it
# runs from; QEMU's device tree is where U-Boot found it.
setenv bootargs "@command-line@"
load ${devtype} ${devnum}:${distro_bootpart} 0x50000000 kernel
unzip 0x50000000 ${kernel_addr_r}
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} initramfs
booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}
