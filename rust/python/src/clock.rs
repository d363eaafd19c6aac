//! The two clocks: a coarse one for the hot path, a fine one for waits. Both are monotonic, on one time line (the coarse one lags by a
//! tick of at most a few milliseconds). A step of the wall clock changes nothing.
//!
//! The fine one is what `time.monotonic()` is, but nobody can replace it: tests that freeze the time do that in Python, and a deadline that one
//! clock sets and another one measures is over at once, or never. So Python's part of the package reads this one too ([`monotonic`]).

use pyo3::prelude::*;

/// Nanoseconds, read in about 20 ns: for waits and due times.
pub(crate) fn fine() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds, read in about 4 ns: for age and idleness.
#[inline(always)]
pub(crate) fn coarse() -> u64 {
    #[cfg(target_os = "linux")]
    return read(libc::CLOCK_MONOTONIC_COARSE);
    #[cfg(not(target_os = "linux"))]
    return read(libc::CLOCK_MONOTONIC);
}

#[inline(always)]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; these clocks exist wherever this compiles, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The fine clock, in seconds.
#[pyfunction]
pub(crate) fn monotonic() -> f64 {
    seconds(fine())
}

/// Seconds of `time.monotonic()` for a time of ours.
pub(crate) fn seconds(time: u64) -> f64 {
    time as f64 / 1e9
}

/// Nanoseconds for a number of seconds that was checked to be 0 or more.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
