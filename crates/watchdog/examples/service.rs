//! A service with a supervisor, and with faults on demand: what it is to do stands in its
//! arguments, one after the other. The watchdog's tests run it.
//!
//! | argument | does |
//! |---|---|
//! | `ready` | says that it is ready |
//! | `status=WORDS` | says what it does |
//! | `beat` | sends heartbeats for ever |
//! | `beats=N` | sends N heartbeats |
//! | `hang` | does nothing, for ever |
//! | `trigger` | asks to be restarted |
//! | `stopping` | says that it begins to end |
//! | `exit=N` | ends |

use std::{env, process::ExitCode, thread::sleep, time::Duration};

use peercam_heartbeat::{Message, Notifier, message::Watchdog};

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
            "hang" => loop {
                sleep(Duration::from_secs(3600));
            },
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

/// `Notifier` has no word for this on purpose: a service of ours that knows itself to be broken
/// ends. Others may say it.
fn trigger(socket: &str) {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let message = Message { watchdog: Some(Watchdog::Trigger), ..Message::default() };
    let name = socket.strip_prefix('@').unwrap_or(socket);
    let sent = net::SocketAddr::from_abstract_name(name).and_then(|address| {
        net::UnixDatagram::unbound()?.send_to_addr(&message.encode(), &address)
    });
    if let Err(error) = sent {
        eprintln!("{error}");
    }
}
