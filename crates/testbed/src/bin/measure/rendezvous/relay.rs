//! The process whose cameras talk and whose viewers listen. One thread does both, on connections
//! that are ready: it copies bytes that were prepared, and counts frames.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use peercam_protocol::{
    signalling::{FromCamera, SessionId},
    wire,
};

use super::{
    Relayed,
    client::{self, Socket},
    frames::{self, Counter},
};
use crate::{figures::percentile, usage};

/// Size of a message as the camera sends it: an answer with its SDP.
pub const MESSAGE: usize = 2048;

/// Messages of one room that may be on their way when as many are sent as can be.
const WINDOW: usize = 32;

/// Read at once.
const READ: usize = 256 * 1024;

/// Before anything is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// Nothing moves for so long: something is wrong.
const STUCK: Duration = Duration::from_secs(20);

/// What the process is told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where a room's camera and its viewer connect; rooms take them in turn
    #[arg(long = "way", required = true, value_parser = way)]
    ways: Vec<(SocketAddr, SocketAddr)>,
    /// How many rooms
    #[arg(long)]
    rooms: u32,
    /// Messages a second in all; 0: as many as arrive
    #[arg(long)]
    rate: u32,
    /// How long to count
    #[arg(long)]
    seconds: u32,
    /// The servers' processes
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

fn way(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (camera, viewer) = text.split_once(',').ok_or("two addresses with a comma between them")?;
    let address = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    Ok((address(camera)?, address(viewer)?))
}

/// Sets the rooms up, lets messages through them, and says what it saw.
pub async fn run(options: &Options) -> Result<()> {
    let mut rooms = Vec::new();
    for number in 0..options.rooms {
        let (at, viewer_at) = options.ways[number as usize % options.ways.len()];
        let key = client::key(number);
        let mut camera = client::camera(at, Ipv4Addr::LOCALHOST, &key).await?;
        let (viewer, session) = client::viewer(viewer_at, &key, &mut camera).await?;
        rooms.push(Room::new(camera, viewer, session)?);
    }
    // Nothing else runs in this process: it may wait in the kernel.
    let relayed = exchange(&mut rooms, options)?;
    println!("{}", serde_json::to_string(&relayed)?);
    Ok(())
}

/// A camera, its viewer, and the messages on their way.
struct Room {
    camera: TcpStream,
    viewer: TcpStream,
    counter: Counter,
    /// The same message over and over.
    frames: Vec<u8>,
    frame: usize,
    /// Bytes of it that are yet to be written, and how many of the first frame have been.
    owed: usize,
    cut: usize,
    /// When each message on its way should have been sent.
    due: VecDeque<Instant>,
}

impl Room {
    fn new(camera: Socket, viewer: Socket, session: SessionId) -> Result<Self> {
        let message = |sdp| wire::encode(&FromCamera::Answer { session, sdp, proof: None });
        // As in an SDP: lines, whose ends JSON escapes.
        let line = "a=rtcp-fb:96 nack pli\r\n";
        let mut sdp = line.repeat(MESSAGE / (line.len() + 3));
        let missing = MESSAGE.saturating_sub(message(sdp.clone()).len());
        sdp.push_str(&"x".repeat(missing));
        let frame = frames::text(&message(sdp));
        // Both have heard all that was said to them so far.
        let plain = |socket: Socket| socket.into_inner().into_std();
        Ok(Self {
            camera: plain(camera)?,
            viewer: plain(viewer)?,
            counter: Counter::default(),
            frames: frame.repeat(WINDOW),
            frame: frame.len(),
            owed: 0,
            cut: 0,
            due: VecDeque::new(),
        })
    }

    /// Adds messages to what is to be written.
    fn add(&mut self, messages: usize, due: Instant) {
        self.due.extend(std::iter::repeat_n(due, messages));
        self.owed += messages * self.frame;
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> Result<()> {
        while self.owed > 0 {
            let end = (self.cut + self.owed).min(self.frames.len());
            match self.camera.write(&self.frames[self.cut..end]) {
                Ok(written) => {
                    self.owed -= written;
                    self.cut = (self.cut + written) % self.frame;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("writing to the server"),
            }
        }
        Ok(())
    }

    /// Reads what has come for the viewer; calls `arrived` with the time at which each message
    /// should have been sent. Returns how many there were.
    fn read(&mut self, buffer: &mut [u8], mut arrived: impl FnMut(Instant)) -> Result<usize> {
        let bytes = read(&mut self.viewer, buffer)?;
        let heard = self.counter.take(&buffer[..bytes])?;
        for _ in 0..heard.texts {
            arrived(self.due.pop_front().context("more messages arrive than were sent")?);
        }
        for _ in 0..heard.pings {
            // Small, and the viewer says nothing else: the socket takes it whole.
            self.viewer.write_all(&frames::pong())?;
        }
        Ok(heard.texts)
    }

    /// A camera hears nothing while it talks, unless something is wrong.
    fn complain(&mut self, buffer: &mut [u8]) -> Result<()> {
        let bytes = read(&mut self.camera, buffer)?;
        if bytes > 0 {
            bail!("a camera was told {:?}", String::from_utf8_lossy(&buffer[..bytes.min(500)]));
        }
        Ok(())
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    match stream.read(buffer) {
        Ok(0) => bail!("the server hung up"),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).context("reading from the server"),
    }
}

fn exchange(rooms: &mut [Room], options: &Options) -> Result<Relayed> {
    let mut buffer = vec![0; READ];
    let mut late = Vec::new();
    let begin = Instant::now() + WARM_UP;
    let end = begin + Duration::from_secs(options.seconds.into());
    let processor =
        || -> Result<Duration> { options.pids.iter().map(|&pid| usage::processor_time(pid)).sum() };
    let mut used = None;
    let mut messages = 0;
    let mut moved = Instant::now();
    let mut schedule = Schedule::new(options.rate);
    if options.rate == 0 {
        for room in &mut *rooms {
            room.add(WINDOW, moved);
            room.write()?;
        }
    }
    loop {
        let ready = ready(rooms, schedule.is_some())?;
        let now = Instant::now();
        if now >= end {
            break;
        }
        let counts = now >= begin;
        if counts && used.is_none() {
            used = Some(processor()?);
        }
        for (room, ready) in rooms.iter_mut().zip(ready) {
            if ready.camera.contains(PollFlags::POLLIN) {
                room.complain(&mut buffer)?;
            }
            if !ready.viewer.is_empty() {
                let came = room.read(&mut buffer, |due| {
                    if counts && schedule.is_some() {
                        late.push(due.elapsed().as_secs_f64() * 1e6);
                    }
                })?;
                if came > 0 {
                    moved = now;
                    messages += if counts { came as u64 } else { 0 };
                    if schedule.is_none() {
                        room.add(came, now);
                    }
                }
            }
            room.write()?;
        }
        if let Some(schedule) = &mut schedule {
            while let Some((number, due)) = schedule.next(Instant::now()) {
                let room = &mut rooms[number % options.rooms as usize];
                room.add(1, due);
                room.write()?;
            }
        }
        if moved.elapsed() > STUCK {
            bail!("no message has arrived for {} s", STUCK.as_secs());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let used = processor()?.saturating_sub(used.unwrap_or_default());
    Ok(Relayed {
        messages,
        seconds,
        p50_us: percentile(&mut late, 0.5).unwrap_or_default(),
        p99_us: percentile(&mut late, 0.99).unwrap_or_default(),
        processor: used.as_secs_f64() / seconds * 100.0,
    })
}

/// What can be done in one room.
struct Ready {
    camera: PollFlags,
    viewer: PollFlags,
}

/// Waits until something can be done, unless `hurried`: then the next message's time may come first,
/// and sleeping is not exact enough for that.
fn ready(rooms: &[Room], hurried: bool) -> Result<Vec<Ready>> {
    let mut wanted: Vec<_> = rooms
        .iter()
        .flat_map(|room| {
            let writes = if room.owed > 0 { PollFlags::POLLOUT } else { PollFlags::empty() };
            [
                PollFd::new(room.camera.as_fd(), PollFlags::POLLIN | writes),
                PollFd::new(room.viewer.as_fd(), PollFlags::POLLIN),
            ]
        })
        .collect();
    let patience = if hurried { PollTimeout::ZERO } else { PollTimeout::from(1000_u16) };
    if poll(&mut wanted, patience)? == 0 {
        // Where the server shares our processor, it is its turn.
        std::thread::yield_now();
    }
    let flags = |fd: &PollFd| fd.revents().unwrap_or(PollFlags::empty());
    Ok(wanted
        .chunks(2)
        .map(|pair| Ready { camera: flags(&pair[0]), viewer: flags(&pair[1]) })
        .collect())
}

/// When messages have to be sent: evenly, whatever becomes of those before.
struct Schedule {
    start: Instant,
    rate: u32,
    sent: u64,
}

impl Schedule {
    fn new(rate: u32) -> Option<Self> {
        (rate > 0).then(|| Self { start: Instant::now(), rate, sent: 0 })
    }

    /// The next one, if its time has come: its number and that time.
    fn next(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let due = self.start + Duration::from_secs(1) * self.sent as u32 / self.rate;
        if now < due {
            return None;
        }
        self.sent += 1;
        Some((self.sent as usize, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_catches_up_with_what_it_missed() {
        let mut schedule = Schedule::new(1000).unwrap();
        let start = schedule.start;
        let later = start + Duration::from_micros(2500);
        let due: Vec<_> = std::iter::from_fn(|| schedule.next(later)).collect();
        let after = |number: usize, micros| (number, start + Duration::from_micros(micros));
        assert_eq!(due, [after(1, 0), after(2, 1000), after(3, 2000)]);
        assert!(Schedule::new(0).is_none());
    }

    #[test]
    fn a_way_has_two_ends() {
        assert!(way("127.0.0.1:1,127.0.0.1:2").is_ok());
        assert!(way("127.0.0.1:1").is_err());
        assert!(way("a,b").unwrap_err().contains('a'));
    }
}
