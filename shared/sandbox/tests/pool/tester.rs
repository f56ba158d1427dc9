//! A program whose workers do what a test asks them to. A request is a command and its argument.
//!
//! `maskline-sandbox-tester parent` has a pool of its own. It prints the process id of its worker,
//! which then computes for ever.

use std::{
    alloc::System,
    fs::File,
    hint::black_box,
    io::{self, Write},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
    time::{Duration, Instant},
};

use maskline_sandbox::{Allocator, Limits, Place, Pool, Role, Room, Work};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator(System);

static ROLE: Role = Role {
    name: "tester",
    start,
};

fn start(setup: &[u8]) -> Result<Box<dyn Work>, String> {
    match setup {
        b"fail" => Err("as the test asked".to_owned()),
        b"panic" => panic!("as the test asked"),
        b"thread" => {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
            Ok(Box::new(Tester))
        }
        _ => Ok(Box::new(Tester)),
    }
}

struct Tester;

impl Work for Tester {
    fn answer(&mut self, request: &[u8], room: &mut dyn Room) -> Vec<u8> {
        let request = String::from_utf8_lossy(request);
        let (command, argument) = request.split_once(' ').unwrap_or((&*request, ""));
        let number = || argument.parse::<u64>().expect("a number");
        let tried = |result: io::Result<()>| match result {
            Ok(()) => "it could".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        let answer = match command {
            "echo" => argument.to_owned(),
            "length" => request.len().to_string(),
            "id" => std::process::id().to_string(),
            "take" => take(number()),
            "take-small" => take_small(number()),
            "claim" => {
                room.claim(number() << 20);
                let began = Instant::now();
                take(number());
                // Long enough that another request would be seen to run beside it.
                std::thread::sleep(Duration::from_millis(100));
                format!("{:?}", (at(began), at(Instant::now())))
            }
            "spin" => loop {
                black_box(0);
            },
            "sleep" => {
                std::thread::sleep(Duration::from_millis(number()));
                String::new()
            }
            "panic" => panic!("as the test asked"),
            "abort" => std::process::abort(),
            "exit" => std::process::exit(0),
            // SAFETY: there is none. A test wants to see what comes of it.
            "segfault" => unsafe { std::ptr::read_volatile(16 as *const u8) }.to_string(),
            "nonsense" => {
                let mut pipe = io::stdout();
                let written = pipe.write_all(&[250; 64]).and_then(|()| pipe.flush());
                tried(written)
            }
            "long" => "x".repeat(number() as usize),
            "environment" => {
                let names = std::env::vars().map(|(name, _)| name);
                names.collect::<Vec<_>>().join(",")
            }
            "read-descriptor" => {
                let mut byte = 0u8;
                // SAFETY: the byte is there. The test wants to see whether the descriptor is.
                let read = unsafe { libc::read(number() as i32, (&raw mut byte).cast(), 1) };
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EBADF) if read == -1 => "not open".to_owned(),
                    _ => "open".to_owned(),
                }
            }
            "open" => tried(File::open(argument).map(drop)),
            "create" => tried(File::create(argument).map(drop)),
            "list" => tried(std::fs::read_dir(argument).map(drop)),
            "remove" => tried(std::fs::remove_file(argument)),
            "listen" => tried(TcpListener::bind("127.0.0.1:0").map(drop)),
            "datagram" => tried(UdpSocket::bind("127.0.0.1:0").map(drop)),
            "socket-pair" => tried(UnixStream::pair().map(drop)),
            "run" => tried(Command::new(argument).status().map(drop)),
            "threads-of-rayon" => {
                let (one, other) = rayon::join(|| 1, || 2);
                format!("{}: {}", rayon::current_num_threads(), one + other)
            }
            "thread" => {
                let thread = std::thread::Builder::new().spawn(|| ());
                tried(thread.map(drop))
            }
            // SAFETY: the signal 0 only asks whether there is such a process.
            "signal" => match unsafe { libc::kill(number() as i32, 0) } {
                0 => "it could".to_owned(),
                _ => tried(Err(io::Error::last_os_error())),
            },
            other => panic!("there is no command {other}"),
        };
        answer.into_bytes()
    }
}

/// Takes so many MiB in one piece, and touches them.
fn take(mebibytes: u64) -> String {
    let mut taken = vec![0u8; (mebibytes as usize) << 20];
    for page in taken.chunks_mut(4096) {
        page[0] = 1;
    }
    black_box(&taken);
    String::new()
}

/// Takes so many MiB in small pieces.
fn take_small(mebibytes: u64) -> String {
    let taken: Vec<Vec<u8>> = (0..mebibytes << 10).map(|_| vec![1; 1000]).collect();
    black_box(&taken);
    String::new()
}

/// Microseconds of the clock that all processes share.
fn at(instant: Instant) -> u128 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written to a variable that is there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let now = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    (now - instant.elapsed()).as_micros()
}

#[tokio::main]
async fn parent() {
    let limits = Limits {
        claimed: 0,
        unclaimed: 32 << 20,
        processor_time: Duration::MAX,
        time: Duration::MAX,
        answer: 1 << 10,
    };
    let pool = Pool::new(&ROLE, vec![], limits, Place::default());
    let id = pool.ask("id".into()).await.expect("a worker");
    println!("{}", String::from_utf8_lossy(&id));
    let _ = pool.ask("spin".into()).await;
}

fn main() {
    maskline_sandbox::serve_if_worker(&[&ROLE]);
    parent();
}
