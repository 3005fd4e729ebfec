//! The load generator: one publisher and many readers, in a process that has a core to itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::stats::{Samples, Usage, now_us};
use crate::streams::protocol::{Inbox, MESSAGE_BYTES, Protocol, redis_count};

/// So many readers connect at once, fewer than a listener lets wait.
const CONNECTING: usize = 200;
/// At saturation so many deliveries are under way, which no server has to drop.
const DELIVERIES_AHEAD: u64 = 40_000;
/// What has not come for so long after it was sent is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// How many messages of a channel are read anew.
const RESUMED_MESSAGES: u64 = 1000;
const READ_BYTES: usize = 16 << 10;

/// What to do, as the generator is told on its stdin.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// Where messages are published, if not there.
    pub(crate) feed_port: u16,
    pub(crate) server: i32,
    /// The channels' names.
    pub(crate) channels: Vec<String>,
    pub(crate) readers_per_channel: usize,
    /// In the open loop so many messages are published per second.
    pub(crate) messages_per_s: f64,
    pub(crate) open_loop_ms: u64,
    pub(crate) saturation_ms: u64,
    pub(crate) resume_ms: u64,
}

/// What was measured, as the generator tells on its stdout.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) cpu_us_per_delivery: f64,
    pub(crate) rss_kib_per_stream: f64,
    /// Of messages alone, without what is around them; absent where nothing is kept.
    pub(crate) resume_mb_per_s: Option<f64>,
    pub(crate) lost: u64,
    /// Messages that came twice, or before an earlier one.
    pub(crate) disordered: u64,
}

#[derive(Default)]
struct Tally {
    delivered: AtomicU64,
    disordered: AtomicU64,
    latency_ms: Mutex<Samples>,
}

/// Does what `plan` says.
pub(crate) async fn run(plan: Plan) -> Result<Measured> {
    let server = Pid::from_raw(plan.server).context("there is no such server")?;
    let tally = Arc::new(Tally::default());
    let mut measured = Measured::default();
    let (cut, _) = watch::channel(false);

    let before = Usage::of(server)?;
    let mut readers = connect(&plan, &tally, &cut).await?;
    let readers_count = (plan.channels.len() * plan.readers_per_channel) as u64;
    let connected = Usage::of(server)?;
    let grown = connected.rss_bytes.saturating_sub(before.rss_bytes);
    measured.rss_kib_per_stream = ratio(grown, readers_count) / 1024.0;

    let mut publisher = Publisher::connect(&plan).await?;
    open_loop(&plan, &mut publisher).await?;
    publisher.delivered(&tally).await;
    {
        let mut latency_ms = tally.latency_ms.lock().unwrap_or_else(PoisonError::into_inner);
        measured.p50_ms = latency_ms.quantile(0.5);
        measured.p99_ms = latency_ms.quantile(0.99);
        measured.p999_ms = latency_ms.quantile(0.999);
    }

    let (cpu, delivered, began) = (Usage::of(server)?.cpu, publisher.expected, Instant::now());
    saturate(&plan, &mut publisher, &tally).await?;
    publisher.delivered(&tally).await;
    let elapsed = began.elapsed();
    let delivered = publisher.expected - delivered;
    measured.deliveries_per_s = ratio(delivered, 1) / elapsed.as_secs_f64();
    let cpu = Usage::of(server)?.cpu.saturating_sub(cpu);
    measured.cpu_us_per_delivery = cpu.as_secs_f64() * 1e6 / ratio(delivered.max(1), 1);

    if plan.protocol.keeps() && plan.resume_ms > 0 {
        measured.resume_mb_per_s = Some(resume(&plan, &mut publisher, &tally).await?);
    }
    measured.lost = publisher.expected.saturating_sub(tally.delivered.load(Ordering::Relaxed));
    measured.disordered = tally.disordered.load(Ordering::Relaxed);
    cut.send_replace(true);
    while let Some(joined) = readers.join_next().await {
        joined.context("a reader's task panicked")?.context("a reader")?;
    }
    Ok(measured)
}

/// Connects all readers, and returns when each is subscribed.
async fn connect(plan: &Plan, tally: &Arc<Tally>, cut: &watch::Sender<bool>) -> Result<JoinSet<Result<()>>> {
    let mut readers = JoinSet::new();
    let mut connecting = JoinSet::new();
    for id in &plan.channels {
        for _ in 0..plan.readers_per_channel {
            if connecting.len() >= CONNECTING {
                let joined = connecting.join_next().await.context("some are connecting")?;
                let reader: Reader = joined.context("a reader's task panicked")??;
                readers.spawn(reader.read(tally.clone(), cut.subscribe()));
            }
            connecting.spawn(Reader::subscribe(plan.protocol, address(plan.port), id.clone(), 0));
        }
    }
    while let Some(joined) = connecting.join_next().await {
        let reader = joined.context("a reader's task panicked")??;
        readers.spawn(reader.read(tally.clone(), cut.subscribe()));
    }
    Ok(readers)
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// One reader of one channel.
struct Reader {
    protocol: Protocol,
    id: String,
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    inbox: Inbox,
    /// The last message that came.
    seq: u64,
    /// Messages still to come of the reply at hand, for servers that are asked again after each.
    reply: Reply,
}

#[derive(Default)]
struct Reply {
    head: Vec<u8>,
    left: Option<usize>,
}

impl Reader {
    async fn subscribe(protocol: Protocol, address: SocketAddr, id: String, after: u64) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("a reader cannot connect")?;
        stream.set_nodelay(true).context("a reader cannot connect")?;
        let (read, write) = stream.into_split();
        let reply = Reply::default();
        let mut reader = Self { protocol, id, read, write, inbox: Inbox::default(), seq: after, reply };
        reader.ask().await?;
        let Some(subscribed) = protocol.subscribed() else { return Ok(reader) };
        let mut received = Vec::new();
        while memchr::memmem::find(&received, subscribed).is_none() {
            if reader.read.read_buf(&mut received).await.context("a reader is not let in")? == 0 {
                bail!("a reader is not let in: {}", String::from_utf8_lossy(&received));
            }
        }
        // Messages may have come along.
        reader.inbox.buffer().extend_from_slice(&received);
        Ok(reader)
    }

    async fn ask(&mut self) -> Result<()> {
        let request = self.protocol.subscribe(&self.id, self.seq);
        self.write.write_all(request.as_bytes()).await.context("a reader is cut off")
    }

    /// Reads until `cut`.
    async fn read(mut self, tally: Arc<Tally>, mut cut: watch::Receiver<bool>) -> Result<()> {
        loop {
            self.take(&tally);
            tokio::select! {
                received = self.receive() => received?,
                _ = cut.wait_for(|cut| *cut) => return Ok(()),
            }
        }
    }

    /// Waits for more, and asks for more where a server wants to be asked. Cancel-safe but for the asking,
    /// which a loopback connection takes at once.
    async fn receive(&mut self) -> Result<()> {
        if self.reply.left == Some(0) {
            self.reply = Reply::default();
            self.ask().await?;
        }
        let buffer = self.inbox.buffer();
        buffer.reserve(READ_BYTES);
        let before = buffer.len();
        if self.read.read_buf(buffer).await.context("a reader is cut off")? == 0 {
            bail!("the server closed a reader's connection");
        }
        if self.protocol == Protocol::Redis && self.reply.left.is_none() {
            let head = &mut self.reply.head;
            head.extend_from_slice(&buffer[before..]);
            // The end of the reply before may come along.
            let start = head.iter().position(|byte| *byte == b'*').unwrap_or(head.len());
            self.reply.left = redis_count(&head[start..]);
        }
        Ok(())
    }

    /// Takes what has come, and returns how much that is.
    fn take(&mut self, tally: &Tally) -> u64 {
        let mut count = 0;
        let now_us = now_us();
        while let Some(message) = self.inbox.next() {
            count += 1;
            if message.seq <= self.seq {
                tally.disordered.fetch_add(1, Ordering::Relaxed);
            }
            self.seq = message.seq;
            if message.due_us > 0 {
                let late = Duration::from_micros(now_us.saturating_sub(message.due_us));
                let mut latency_ms = tally.latency_ms.lock().unwrap_or_else(PoisonError::into_inner);
                latency_ms.add(late.as_secs_f64() * 1e3);
            }
            if let Some(left) = &mut self.reply.left {
                *left = left.saturating_sub(1);
            }
        }
        tally.delivered.fetch_add(count, Ordering::Relaxed);
        count
    }
}

/// Publishes to all channels in turn over one connection.
struct Publisher {
    protocol: Protocol,
    ids: Vec<String>,
    fanout: u64,
    write: OwnedWriteHalf,
    /// The last message of each channel.
    seqs: Vec<u64>,
    next: usize,
    out: String,
    /// How many deliveries are due for what was published.
    expected: u64,
    _answers: JoinSet<()>,
}

impl Publisher {
    async fn connect(plan: &Plan) -> Result<Self> {
        let stream = TcpStream::connect(address(plan.feed_port)).await.context("nobody takes messages")?;
        stream.set_nodelay(true).context("nobody takes messages")?;
        let (mut read, mut write) = stream.into_split();
        write.write_all(plan.protocol.hello().as_bytes()).await.context("nobody takes messages")?;
        let mut answers = JoinSet::new();
        answers.spawn(async move {
            // What a server says to a publisher has to be taken off its hands.
            let mut buffer = vec![0; READ_BYTES];
            while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        Ok(Self {
            protocol: plan.protocol,
            ids: plan.channels.clone(),
            fanout: plan.readers_per_channel as u64,
            write,
            seqs: vec![0; plan.channels.len()],
            next: 0,
            out: String::new(),
            expected: 0,
            _answers: answers,
        })
    }

    /// Publishes a message to the channel whose turn it is.
    fn publish(&mut self, due_us: u64) {
        let channel = self.next;
        self.next = (channel + 1) % self.ids.len();
        self.publish_to(channel, due_us);
    }

    fn publish_to(&mut self, channel: usize, due_us: u64) {
        self.seqs[channel] += 1;
        let seq = self.seqs[channel];
        self.protocol.publish(channel, &self.ids[channel], seq, due_us, &mut self.out);
        self.expected += self.fanout;
    }

    async fn flush(&mut self) -> Result<()> {
        self.write.write_all(self.out.as_bytes()).await.context("the server takes no more messages")?;
        self.out.clear();
        Ok(())
    }

    /// Waits until everything published was delivered, or is lost.
    async fn delivered(&self, tally: &Tally) {
        let mut before = tally.delivered.load(Ordering::Relaxed);
        let mut heard = Instant::now();
        while before < self.expected && heard.elapsed() < LOST_AFTER {
            // The readers' own tasks are what is waited for.
            tokio::task::yield_now().await;
            let delivered = tally.delivered.load(Ordering::Relaxed);
            if delivered > before {
                (before, heard) = (delivered, Instant::now());
            }
        }
    }
}

/// Publishes at an even rate, whatever becomes of it.
async fn open_loop(plan: &Plan, publisher: &mut Publisher) -> Result<()> {
    let interval = Duration::from_secs_f64(1.0 / plan.messages_per_s);
    let (begin, begin_us) = (Instant::now(), now_us());
    // One tick that waits is enough: whoever takes it looks at the clock and publishes all that is due.
    let (ticking, mut ticks) = mpsc::channel(1);
    // The runtime's timers are late by up to a millisecond, and to look at the clock all the time would take the
    // core from what delivers.
    let clock = std::thread::spawn(move || {
        for tick in 1.. {
            std::thread::sleep((interval * tick).saturating_sub(begin.elapsed()));
            if ticking.blocking_send(()).is_err() {
                return;
            }
        }
    });
    let mut due = Duration::ZERO;
    while due < Duration::from_millis(plan.open_loop_ms) {
        while begin.elapsed() >= due {
            let due_us = begin_us + u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
            publisher.publish(due_us);
            due += interval;
        }
        publisher.flush().await?;
        ticks.recv().await.context("the clock has stopped")?;
    }
    drop(ticks);
    clock.join().map_err(|_| anyhow!("the clock has stopped"))
}

/// Publishes as much as is delivered, with some under way all the time.
async fn saturate(plan: &Plan, publisher: &mut Publisher, tally: &Tally) -> Result<()> {
    let ahead = DELIVERIES_AHEAD.max(2 * publisher.fanout);
    let end = Instant::now() + Duration::from_millis(plan.saturation_ms);
    while Instant::now() < end {
        let delivered = tally.delivered.load(Ordering::Relaxed);
        // In portions, so that readers get their turn.
        for _ in 0..64 {
            if publisher.expected - delivered.min(publisher.expected) + publisher.fanout > ahead {
                break;
            }
            publisher.publish(0);
        }
        publisher.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Reads the last messages of the first channel anew, again and again, and returns megabytes per second.
async fn resume(plan: &Plan, publisher: &mut Publisher, tally: &Arc<Tally>) -> Result<f64> {
    while publisher.seqs[0] < RESUMED_MESSAGES {
        publisher.publish_to(0, 0);
        if publisher.seqs[0].is_multiple_of(32) {
            publisher.flush().await?;
            publisher.delivered(tally).await;
        }
    }
    publisher.flush().await?;
    publisher.delivered(tally).await;
    let after = publisher.seqs[0] - RESUMED_MESSAGES;
    let apart = Tally::default();
    let mut messages = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(plan.resume_ms) {
        let id = plan.channels[0].clone();
        let mut reader = Reader::subscribe(plan.protocol, address(plan.port), id, after).await?;
        let mut count = reader.take(&apart);
        while count < RESUMED_MESSAGES {
            let received = tokio::time::timeout(LOST_AFTER, reader.receive()).await;
            received.with_context(|| format!("only {count} messages are there to be read anew"))??;
            count += reader.take(&apart);
        }
        messages += count;
    }
    let bytes = messages * MESSAGE_BYTES as u64;
    Ok(ratio(bytes, 1) / 1e6 / began.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
