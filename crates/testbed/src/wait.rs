//! Waiting for something to become true.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// It is true, and this came of it.
    Done(T),
    /// Not yet; what is seen instead, for the error message.
    NotYet(String),
}

/// Looks again and again until `look` is done, or `deadline` has passed: then the error says what
/// was waited for and what was seen last. An error from `look` ends the wait at once.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match look().await? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(last) if start.elapsed() > deadline => {
                let seconds = start.elapsed().as_secs_f64();
                return Err(Error::TimedOut { what: what.to_owned(), seconds, last });
            }
            Look::NotYet(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_value_or_says_what_did_not_happen() {
        let mut looks = 0;
        let value = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            Ok(if looks == 3 { Look::Done(looks) } else { Look::NotYet(String::new()) })
        });
        assert_eq!(value.await.unwrap(), 3);

        let never = until::<()>("pigs to fly", Duration::ZERO, async || {
            Ok(Look::NotYet("they walk".to_owned()))
        });
        let error = never.await.unwrap_err().to_string();
        assert!(error.contains("pigs to fly") && error.contains("they walk"), "{error}");
    }
}
