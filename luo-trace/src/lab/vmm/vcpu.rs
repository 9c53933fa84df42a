//! One thread for each vCPU, which can be had out of the guest at any time.
#![expect(unsafe_code, reason = "a signal takes a thread out of KVM_RUN")]

use std::os::unix::thread::JoinHandleExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use kvm_ioctls::{VcpuExit, VcpuFd};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Out,
    In,
    Failed(String),
    Gone,
}

/// What the threads of a VM share.
#[derive(Debug)]
struct Shared {
    seats: Mutex<Vec<Place>>,
    changed: Condvar,
    /// The threads are to leave the guest.
    leave: AtomicBool,
}

/// The threads of a VM.
#[derive(Debug)]
pub struct Vcpus {
    shared: Arc<Shared>,
    fds: Vec<Arc<Mutex<VcpuFd>>>,
    threads: Vec<JoinHandle<()>>,
}

const LEAVE_WITHIN: Duration = Duration::from_secs(20);
/// Until a thread is signalled again: the first signal may come just before `KVM_RUN`.
const AGAIN: Duration = Duration::from_micros(200);
/// The threads need little.
const STACK: usize = 128 << 10;

impl Vcpus {
    /// Starts the threads, which wait outside the guest.
    pub fn new(fds: Vec<VcpuFd>) -> Result<Self> {
        prepare_signal()?;
        let mut vcpus = Self {
            shared: Arc::new(Shared {
                seats: Mutex::new(vec![Place::Out; fds.len()]),
                changed: Condvar::new(),
                leave: AtomicBool::new(true),
            }),
            fds: fds.into_iter().map(|fd| Arc::new(Mutex::new(fd))).collect(),
            threads: Vec::new(),
        };
        for (index, fd) in vcpus.fds.iter().enumerate() {
            let (shared, fd) = (Arc::clone(&vcpus.shared), Arc::clone(fd));
            let thread = std::thread::Builder::new()
                .name(format!("vcpu {index}"))
                .stack_size(STACK)
                .spawn(move || shared.serve(index, &fd))
                .context("a vCPU gets no thread")?;
            vcpus.threads.push(thread);
        }
        Ok(vcpus)
    }

    /// Lets all vCPUs run.
    pub fn resume(&self) -> Result<()> {
        let mut seats = self.shared.seats();
        check(&seats)?;
        self.shared.leave.store(false, Ordering::Release);
        for seat in seats.iter_mut() {
            *seat = Place::In;
        }
        drop(seats);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Has all vCPUs leave the guest; returns when the last one has.
    pub fn pause(&self) -> Result<()> {
        self.shared.leave.store(true, Ordering::Release);
        let until = Instant::now() + LEAVE_WITHIN;
        let mut seats = self.shared.seats();
        while seats.contains(&Place::In) {
            if Instant::now() > until {
                bail!("a vCPU does not leave the guest");
            }
            for (thread, seat) in self.threads.iter().zip(seats.iter()) {
                if *seat == Place::In {
                    // SAFETY: the thread is not joined yet, so its handle names it and no other.
                    unsafe { libc::pthread_kill(thread.as_pthread_t(), signal()) };
                }
            }
            let waited = self.shared.changed.wait_timeout(seats, AGAIN);
            seats = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        check(&seats)
    }

    /// Fails where a vCPU could not go on.
    pub fn check(&self) -> Result<()> {
        check(&self.shared.seats())
    }

    /// The vCPUs, while they are out of the guest.
    pub fn paused(&self) -> Result<Vec<MutexGuard<'_, VcpuFd>>> {
        let seats = self.shared.seats();
        check(&seats)?;
        if seats.iter().any(|seat| *seat != Place::Out) {
            bail!("the guest runs");
        }
        Ok(self.fds.iter().map(|fd| lock(fd)).collect())
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        // Of a vCPU that failed, `check` has told.
        let _ = self.pause();
        let mut stuck = false;
        for seat in self.shared.seats().iter_mut() {
            stuck |= *seat == Place::In;
            *seat = Place::Gone;
        }
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..).filter(|_| !stuck) {
            let _ = thread.join();
        }
    }
}

fn check(seats: &[Place]) -> Result<()> {
    for (index, seat) in seats.iter().enumerate() {
        if let Place::Failed(problem) = seat {
            return Err(anyhow!("vCPU {index}: {problem}"));
        }
    }
    Ok(())
}

impl Shared {
    fn seats(&self) -> MutexGuard<'_, Vec<Place>> {
        lock(&self.seats)
    }

    /// What a vCPU's thread does.
    fn serve(&self, index: usize, fd: &Mutex<VcpuFd>) {
        loop {
            let mut seats = self.seats();
            loop {
                match seats[index] {
                    Place::In => break,
                    Place::Gone => return,
                    Place::Out | Place::Failed(_) => {
                        let woken = self.changed.wait(seats);
                        seats = woken.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
            drop(seats);
            let mut fd = lock(fd);
            let result = self.run(&mut fd);
            // Before the seat is given up: who sees it empty may lock the vCPU.
            drop(fd);
            self.seats()[index] = match result {
                Ok(()) => Place::Out,
                Err(problem) => Place::Failed(problem),
            };
            self.changed.notify_all();
        }
    }

    /// Runs the guest until it is to leave.
    fn run(&self, fd: &mut VcpuFd) -> Result<(), String> {
        while !self.leave.load(Ordering::Acquire) {
            match fd.run() {
                Ok(VcpuExit::IoOut(..) | VcpuExit::Intr) => {}
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
                Ok(exit) => {
                    let exit = format!("{exit:?}");
                    let regs = fd.get_regs().map(|regs| regs.rip);
                    return Err(format!("left the guest by {exit} at {regs:x?}"));
                }
                Err(error) => return Err(format!("KVM_RUN: {error}")),
            }
        }
        // Ends an instruction that the VMM has handled, without entering the guest.
        fd.set_kvm_immediate_exit(1);
        let ended = fd.run().map(|exit| format!("{exit:?}"));
        fd.set_kvm_immediate_exit(0);
        match ended {
            Err(error) if error.errno() == libc::EINTR => Ok(()),
            Err(error) => Err(format!("KVM_RUN, to end: {error}")),
            Ok(exit) => Err(format!("KVM_RUN, to end: {exit}")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signal that takes a thread out of the guest.
fn signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Has the signal do nothing but interrupt.
fn prepare_signal() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zeros is a valid `sigaction`; the handler does nothing, and no flag asks for
    // one with more arguments.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::sigaction(signal(), &raw const action, std::ptr::null_mut())
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("no handler for the signal");
    }
    Ok(())
}
