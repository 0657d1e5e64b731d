//! A service with a supervisor, and with faults on demand: what it is to do stands in its
//! arguments, one after the other. The watchdog's tests run it.
//!
//! | argument | does |
//! |---|---|
//! | `ready` | says that it is ready |
//! | `status=WORDS` | says what it does |
//! | `beat` | sends heartbeats for ever |
//! | `beats=N` | sends N heartbeats |
//! | `idle=N` | sends N heartbeats that say there is no work |
//! | `work=N` | sends N heartbeats, each with more work done |
//! | `stuck` | sends heartbeats for ever, with work to do and none done |
//! | `extend=N` | asks for N milliseconds of patience |
//! | `sleep=N` | does nothing for N milliseconds |
//! | `hang` | does nothing, for ever |
//! | `grow=N` | takes N MiB of memory more |
//! | `flood=N` | sends N status messages as fast as it can, and waits where it has to |
//! | `trigger` | asks to be restarted |
//! | `stopping` | says that it begins to end |
//! | `exit=N` | ends |

use std::{env, process::ExitCode, thread::sleep, time::Duration};

use peercam_heartbeat::{Message, Notifier, Progress, message::Watchdog};

fn main() -> ExitCode {
    let notifier = match Notifier::from_env() {
        Ok(notifier) => notifier,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let socket = env::var("NOTIFY_SOCKET").unwrap_or_default();
    println!("service {} begins, told of {socket:?}", std::process::id());
    let interval = notifier.interval().unwrap_or(Duration::from_secs(1));
    let mut done = 0;
    let mut memory = Vec::new();
    for step in env::args().skip(1) {
        let (verb, value) = step.split_once('=').unwrap_or((&step, ""));
        let number = || value.parse::<u32>().unwrap_or(0);
        match verb {
            "ready" => notifier.ready("waiting for nobody"),
            "status" => notifier.status(value),
            "beat" => loop {
                notifier.alive();
                sleep(interval);
            },
            "beats" => {
                for _ in 0..number() {
                    notifier.alive();
                    sleep(interval);
                }
            }
            "idle" | "work" => {
                for _ in 0..number() {
                    done += u64::from(verb == "work");
                    notifier.working(Progress { expected: verb == "work", done });
                    sleep(interval);
                }
            }
            "stuck" => loop {
                notifier.working(Progress { expected: true, done });
                sleep(interval);
            },
            "extend" => notifier.extend(Duration::from_millis(number().into())),
            "sleep" => sleep(Duration::from_millis(number().into())),
            "hang" => loop {
                sleep(Duration::from_secs(3600));
            },
            "grow" => memory.push(vec![1_u8; number() as usize * 1024 * 1024]),
            "flood" => flood(&socket, number()),
            "trigger" => trigger(&socket),
            "stopping" => notifier.stopping(),
            "exit" => return ExitCode::from(number() as u8),
            _ => {
                eprintln!("{step:?} is not known");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}

/// `Notifier` never waits, and has no word for this.
fn flood(socket: &str, count: u32) {
    for number in 0..count {
        let status = Some(format!("message {number} of {count}"));
        send(socket, &Message { status, ..Message::default() });
    }
    println!("{count} messages sent");
}

/// `Notifier` has no word for this on purpose: a service of ours that knows itself to be broken
/// ends. Others may say it.
fn trigger(socket: &str) {
    send(socket, &Message { watchdog: Some(Watchdog::Trigger), ..Message::default() });
}

fn send(socket: &str, message: &Message) {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let address = match socket.strip_prefix('@') {
        Some(name) => net::SocketAddr::from_abstract_name(name),
        None => net::SocketAddr::from_pathname(socket),
    };
    let sent = address.and_then(|address| {
        net::UnixDatagram::unbound()?.send_to_addr(&message.encode(), &address)
    });
    if let Err(error) = sent {
        eprintln!("{error}");
    }
}
