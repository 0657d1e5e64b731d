//! A cable between two namespaces that can be made bad while it is used: an Ethernet interface
//! (TAP) at each end, and a thread of ours between them. The kernels that tests run on do not all
//! have netem; and a TAP has no checksum or segmentation offload that would have to be switched
//! off, nor would we hear our own frames.

use std::{
    fs::File,
    io::{self, PipeWriter, Read, Write},
    os::fd::{AsFd, AsRawFd},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

use super::{
    line::{Counts, Impairment, Line},
    namespace::Namespace,
};
use crate::error::{Error, Result};

/// An Ethernet header, the largest IP packet of the cable (1500 bytes), and room to see that one
/// was too long.
const LARGEST_FRAME: usize = 2048;

/// Frames taken from one end before the other gets its turn.
const AT_ONCE: usize = 64;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the end named first to the other.
    Out,
    /// Back.
    In,
}

/// A running cable; the interfaces go away with it.
#[derive(Debug)]
pub struct Hop {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
    /// Closing it ends the thread.
    leash: Option<PipeWriter>,
}

#[derive(Debug, Clone, Copy)]
struct Shared {
    impairments: [Impairment; 2],
    counts: [Counts; 2],
}

impl Hop {
    /// Joins two namespaces, by an interface with this name in each; both are up. Chance comes
    /// from `seed`.
    pub fn join(a: (&Namespace, &str), b: (&Namespace, &str), seed: u64) -> Result<Self> {
        let ends = [tap(a.0, a.1)?, tap(b.0, b.1)?];
        let shared = Arc::new(Mutex::new(Shared {
            impairments: [Impairment::NONE; 2],
            counts: [Counts::default(); 2],
        }));
        let (stop, leash) = io::pipe().map_err(Error::io("making a pipe"))?;
        let lines = [Line::new(seed), Line::new(!seed)];
        let theirs = shared.clone();
        let thread = thread::Builder::new()
            .name("hop".to_owned())
            .spawn(move || {
                if let Err(error) = carry(ends, lines, &stop, &theirs) {
                    eprintln!("the cable between two namespaces broke: {error}");
                }
            })
            .map_err(Error::io("starting a thread"))?;
        Ok(Self { shared, thread: Some(thread), leash: Some(leash) })
    }

    /// Makes one direction so from now on.
    pub fn set(&self, way: Way, impairment: Impairment) {
        self.lock().impairments[way as usize] = impairment;
    }

    /// Makes both directions so from now on.
    pub fn set_both(&self, impairment: Impairment) {
        self.lock().impairments = [impairment; 2];
    }

    /// What became of the frames of one direction.
    pub fn counts(&self, way: Way) -> Counts {
        self.lock().counts[way as usize]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        drop(self.leash.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

mod ioctl {
    use nix::libc;

    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
}

/// An Ethernet interface in a namespace; what is sent to it is read from the file, what is written
/// to the file it receives. It is there as long as the file is open.
fn tap(namespace: &Namespace, name: &str) -> Result<File> {
    let what = format!("making the interface {name} of the {} with /dev/net/tun", namespace.name());
    let interface = name.to_owned();
    let file = namespace
        .run(move || {
            let file = File::options().read(true).write(true).open("/dev/net/tun")?;
            // SAFETY: all zeros are a valid ifreq, which is made of numbers and text.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            if interface.len() >= request.ifr_name.len() {
                return Err(io::Error::other("the name is too long"));
            }
            for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
                *to = from as libc::c_char;
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
            // SAFETY: the request is a pointer to an ifreq, as tuntap.txt of the kernel has it.
            unsafe { ioctl::set_interface(file.as_raw_fd(), &request) }?;
            fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(file)
        })
        .map_err(Error::io(what))?;
    namespace.ip(&[format!("link set {name} up")])?;
    Ok(file)
}

/// Carries frames between the two ends until the pipe is closed.
fn carry(
    mut ends: [File; 2],
    mut lines: [Line; 2],
    stop: &io::PipeReader,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    let mut buffer = [0; LARGEST_FRAME];
    loop {
        let next = lines.iter().filter_map(Line::next_due).min();
        let wait = next.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
        let mut polled = [
            PollFd::new(ends[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(ends[1].as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        ppoll(&mut polled, wait, None)?;
        if polled[2].revents().is_some_and(|events| !events.is_empty()) {
            return Ok(());
        }
        let impairments = shared.lock().unwrap_or_else(PoisonError::into_inner).impairments;
        for (from, line) in lines.iter_mut().enumerate() {
            for _ in 0..AT_ONCE {
                match ends[from].read(&mut buffer) {
                    Ok(length) => {
                        line.push(Instant::now(), buffer[..length].to_vec(), &impairments[from]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The interface is down: nothing comes from it, and nothing is to be said.
                    Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Err(error),
                    Err(_) => break,
                }
            }
            let now = Instant::now();
            while let Some(frame) = line.pop(now) {
                // An end that is down or full loses it, as a real one does.
                let _ = ends[1 - from].write(&frame);
            }
        }
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.counts = [lines[0].counts(), lines[1].counts()];
    }
}
