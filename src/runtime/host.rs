//! What the machine lets this process use: CPUs and descriptors. Asked once, before the workers start.
//!
//! Not here: the CPU quota of a control group, which is text in files and is read by the command line.

use std::io;
use std::mem::{MaybeUninit, size_of};

/// CPUs in the kernel's numbering that the affinity mask of the calling thread holds; at least one, ascending.
///
/// # Errors
/// When the kernel numbers more CPUs than [`CPUS_MAX`].
pub fn usable_cpus() -> io::Result<Vec<usize>> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: `set` is `size_of::<cpu_set_t>()` bytes large and valid to write to.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed at first, and every bit pattern is a valid set.
    let set = unsafe { set.assume_init() };
    // SAFETY: `CPU_ISSET` reads one bit, and `cpu` is below the number of bits in the set.
    Ok((0..CPUS_MAX).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// CPUs that the kernel's fixed-size set can name.
pub const CPUS_MAX: usize = libc::CPU_SETSIZE.unsigned_abs() as usize;

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// When `cpu` is not in the affinity mask any more, or not below [`CPUS_MAX`].
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CPUS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zeroed at first, and all-zero is the empty set.
    let set = unsafe { set.assume_init_mut() };
    // SAFETY: `CPU_SET` writes one bit, and `cpu` was just checked to be below the number of bits in the set.
    unsafe { libc::CPU_SET(cpu, set) };
    // SAFETY: `set` is `size_of::<cpu_set_t>()` readable bytes.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps the memory of this process out of core dumps, and from other processes of the same user: it holds private keys.
///
/// # Errors
/// None that the kernel documents for this value.
pub fn forbid_dumps() -> io::Result<()> {
    // SAFETY: `PR_SET_DUMPABLE` takes one number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run only while others leave CPU time to it, as far as the kernel goes along: for work that may
/// take its time.
pub fn stand_back() {
    // SAFETY: two numbers, no memory of ours. On Linux the priority is one of the thread, and 0 is the caller.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Descriptors that this process may have open at once (the soft `RLIMIT_NOFILE`); `u64::MAX` is unlimited.
///
/// # Errors
/// None that the kernel documents for a resource that exists.
pub fn descriptors_max() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` to write to.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    if result == 0 { Ok(limit.rlim_cur) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_that_cpu_alone() {
        let all = usable_cpus().expect("the kernel says");
        let last = *all.last().expect("something runs this test");
        let after = std::thread::spawn(move || {
            pin(last).expect("it was usable a moment ago");
            usable_cpus().expect("the kernel says")
        });
        assert_eq!(after.join().expect("the thread ends"), [last]);
        assert_eq!(usable_cpus().expect("the kernel says"), all, "other threads keep their mask");
    }

    #[test]
    fn a_cpu_that_cannot_exist_is_refused() {
        assert_eq!(pin(CPUS_MAX).expect_err("out of range").kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn some_descriptors_are_allowed() {
        assert!(descriptors_max().expect("the kernel says") > 3);
    }
}
