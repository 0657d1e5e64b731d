//! A TCP connection to a host by name: all its addresses are tried, and none of them is waited
//! for (RFC 8305, "happy eyeballs"). A network whose IPv6 leads nowhere costs a quarter of a
//! second, not the minutes that the kernel takes to give up.

use std::{net::SocketAddr, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};

/// A connection that is slower gets a rival (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses that are tried of one name.
const MAX_ADDRESSES: usize = 8;

/// Looks the name up, and connects to whichever address answers first.
///
/// # Errors
///
/// In words, of the last address.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = lookup_host((host, port))
        .await
        .map_err(|error| format!("{host} can't be looked up: {error}"))?;
    let stream = race(in_turn(found)).await?;
    // Candidates are small and each one is waited for.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

/// The families in turn, beginning with the one that the system prefers (RFC 8305 §4).
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut preferred = None;
    for address in addresses {
        let v4 = address.is_ipv4();
        let family = if *preferred.get_or_insert(v4) == v4 { &mut first } else { &mut second };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    while all.len() < MAX_ADDRESSES {
        let before = all.len();
        all.extend(first.next());
        all.extend(second.next());
        if all.len() == before {
            break;
        }
    }
    all
}

async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
    let mut running = FuturesUnordered::new();
    let mut problem = "the name has no address".to_owned();
    for next in addresses {
        running.push(TcpStream::connect(next));
        let head_start = tokio::time::sleep(HEAD_START);
        tokio::pin!(head_start);
        loop {
            tokio::select! {
                outcome = running.next() => match outcome {
                    Some(Ok(stream)) => return Ok(stream),
                    Some(Err(error)) => problem = error.to_string(),
                    // All have failed: the next one need not wait.
                    None => break,
                },
                () = &mut head_start => break,
            }
        }
    }
    while let Some(outcome) = running.next().await {
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let found = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "[2001:db8::1]:1"];
        let order = ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1"];
        assert_eq!(in_turn(found.map(address).into_iter()), order.map(address));
    }

    /// A listener whose queue is full answers nothing, as a black hole does.
    async fn black_hole() -> (std::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
        let listener = socket.listen(1).unwrap().into_std().unwrap();
        let mut fillers = Vec::new();
        let target = listener.local_addr().unwrap();
        while let Ok(Ok(filler)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(target)).await
        {
            fillers.push(filler);
        }
        (listener, fillers)
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_does_not_hold_up_the_others() {
        let (hole, _fillers) = black_hole().await;
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let all = vec![hole.local_addr().unwrap(), server.local_addr().unwrap()];
        let stream = race(all).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), server.local_addr().unwrap());
        assert!(begun.elapsed() >= HEAD_START, "the first one has had its chance");
    }

    #[tokio::test]
    async fn one_that_refuses_is_passed_over_at_once() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = race(vec![closed, server.local_addr().unwrap()]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), server.local_addr().unwrap());
        assert!(race(vec![closed]).await.unwrap_err().contains("refused"));
        assert!(race(Vec::new()).await.is_err());
    }
}
