//! How often something may happen: a token bucket, or one for each address. The time is passed
//! in, so a test needs no sleeping.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::gate::one_subscriber;

/// Most addresses that are remembered.
const ADDRESSES: usize = 65_536;

/// How often those are looked for that need not be remembered any more.
const TIDY: Duration = Duration::from_secs(1);

/// Lets `burst` things happen at once and `per_second` of them in the long run.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { per_second, burst, tokens: burst, filled: now }
    }

    /// Takes one token; `false` where none is left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now.max(self.filled);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }

    /// Puts a taken token back.
    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Whether it is as good as new.
    fn is_full(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens + passed * self.per_second >= self.burst
    }
}

/// A token bucket for each address, kept until it is full again: closing a connection earns nothing.
#[derive(Debug)]
pub(crate) struct AddressRates {
    burst: u32,
    seconds: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_address: HashMap<IpAddr, TokenBucket>,
    tidied: Option<Instant>,
}

impl AddressRates {
    /// Lets every address do `burst` things in so many seconds, all at once if it likes.
    pub(crate) fn new(burst: u32, seconds: f64) -> Self {
        Self { burst, seconds, buckets: Mutex::default() }
    }

    /// Takes one token; `false` where the address has none left. Nobody's address (a trusted
    /// proxy that doesn't say) is not counted.
    pub(crate) fn take(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(address) = address.map(one_subscriber) else { return true };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.by_address.contains_key(&address) {
            buckets.make_room(now);
        }
        let per_second = f64::from(self.burst) / self.seconds;
        let bucket = buckets.by_address.entry(address);
        bucket.or_insert_with(|| TokenBucket::new(per_second, self.burst, now)).take(now)
    }

    /// Puts a taken token back: what it was for did not happen.
    pub(crate) fn give_back(&self, address: Option<IpAddr>) {
        let Some(address) = address.map(one_subscriber) else { return };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_address.get_mut(&address) {
            bucket.give_back();
        }
    }
}

impl Buckets {
    /// For one more. Where all places are taken by addresses that were busy of late, one of them
    /// begins anew.
    fn make_room(&mut self, now: Instant) {
        if self.by_address.len() < ADDRESSES {
            return;
        }
        if self.tidied.is_none_or(|last| now.saturating_duration_since(last) >= TIDY) {
            self.tidied = Some(now);
            self.by_address.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.by_address.len() >= ADDRESSES
            && let Some(&any) = self.by_address.keys().next()
        {
            self.by_address.remove(&any);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert!(!bucket.take(start + Duration::from_millis(90)));
        assert!(bucket.take(start + Duration::from_millis(110)));
        assert!(!bucket.take(start + Duration::from_millis(120)));
    }

    #[test]
    fn an_hour_of_silence_earns_no_more_than_one_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 3, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 3);
    }

    #[test]
    fn each_address_has_its_own_and_nobodys_is_not_counted() {
        let start = Instant::now();
        let rates = AddressRates::new(2, 60.0);
        let one: Option<IpAddr> = Some([192, 0, 2, 1].into());
        let other: Option<IpAddr> = Some([192, 0, 2, 2].into());
        assert_eq!((0..9).filter(|_| rates.take(one, start)).count(), 2);
        assert_eq!((0..9).filter(|_| rates.take(other, start)).count(), 2);
        assert_eq!((0..9).filter(|_| rates.take(None, start)).count(), 9);
        assert!(rates.take(one, start + Duration::from_secs(31)));
        assert!(!rates.take(one, start + Duration::from_secs(31)));
    }

    #[test]
    fn what_did_not_happen_does_not_count() {
        let start = Instant::now();
        let rates = AddressRates::new(2, 60.0);
        let one: Option<IpAddr> = Some([192, 0, 2, 1].into());
        for _ in 0..9 {
            assert!(rates.take(one, start));
            rates.give_back(one);
        }
        // Nor does it earn anything.
        rates.give_back(one);
        assert_eq!((0..9).filter(|_| rates.take(one, start)).count(), 2);
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory() {
        let start = Instant::now();
        let rates = AddressRates::new(1, 60.0);
        let count = || rates.buckets.lock().unwrap().by_address.len();
        for number in 0..ADDRESSES as u32 + 100 {
            assert!(rates.take(Some(IpAddr::from(number.to_be_bytes())), start));
        }
        assert_eq!(count(), ADDRESSES);
        // A minute later all of them are as good as new.
        assert!(rates.take(Some([255, 0, 0, 1].into()), start + Duration::from_secs(61)));
        assert_eq!(count(), 1);
    }

    #[test]
    fn a_clock_that_seems_to_step_back_gives_nothing_away() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = TokenBucket::new(10.0, 1, start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
        assert!(!bucket.take(start));
    }
}
