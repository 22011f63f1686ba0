//! How the process gets memory from the system.

/// Blocks of this size and more go back to the system as soon as they are freed, in bytes.
///
/// glibc raises its own threshold to the largest block that was freed, up to 32 MiB, and then keeps
/// such blocks in one heap for each thread: batches and row groups, which come and go on several
/// threads, would hold twice the memory that is in use.
const LARGE_BLOCK_BYTES: i32 = 1 << 20;

/// Sets the threshold. To be called before there are other threads.
#[allow(unsafe_code)]
pub fn return_large_blocks() {
    // SAFETY: `mallopt` sets a number of the allocator, and no other thread is there yet.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    }
}
