//! How the process gets memory from the system.

/// Blocks of this size and more go back to the system as soon as they are freed, in bytes.
///
/// glibc raises its own threshold to the largest block that was freed, up to 32 MiB, and then keeps
/// such blocks in one heap for each thread: batches and row groups, which come and go on several
/// threads, would hold twice the memory that is in use.
const LARGE_BLOCK_BYTES: i32 = 1 << 20;

/// Memory at the end of a heap that is kept for the next batch, in bytes. By default glibc gives 128 KiB and more back
/// at once, and every batch would be paid for in page faults.
const KEPT_BYTES: i32 = 64 << 20;

/// Heaps. Batches are made on one thread and freed on another; with a heap for each thread, each would keep its own.
const HEAPS: i32 = 2;

/// Sets these. To be called before there are other threads.
#[allow(unsafe_code)]
pub fn tune_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        // SAFETY: `mallopt` sets a number of the allocator, and no other thread is there yet.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// The most memory that was resident at once since the process started, in bytes; 0 where the system
/// does not tell.
pub fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
