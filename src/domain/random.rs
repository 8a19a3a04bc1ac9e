//! The one door to randomness (invariant I9).

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use uuid::{Builder, Uuid};

use super::clock::Timestamp;
use super::digest::Salt;

/// The operating system gave no random bytes; nothing may be issued or recorded then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct RandomError;

/// `N` bytes from the system's cryptographic generator.
pub fn bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut out = [0; N];
    match SystemRandom::new().fill(&mut out) {
        Ok(()) => Ok(out),
        Err(aws_lc_rs::error::Unspecified) => Err(RandomError),
    }
}

/// A salt for one record.
pub fn salt() -> Result<Salt, RandomError> {
    bytes().map(Salt::from_bytes)
}

/// A random UUID (version 4).
pub fn uuid_v4() -> Result<Uuid, RandomError> {
    bytes().map(|raw| Builder::from_random_bytes(raw).into_uuid())
}

/// A UUID that sorts by `now` (version 7, RFC 9562 §5.7).
pub fn uuid_v7(now: Timestamp) -> Result<Uuid, RandomError> {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    bytes().map(|raw: [u8; 10]| Builder::from_unix_timestamp_millis(millis, &raw).into_uuid())
}
