//! Writes packets one after the other, each string in full only the first time.

use super::proto::{
    Clock, ClockSnapshot, DebugAnnotation, INCREMENTAL_STATE_CLEARED, InternedData, InternedString,
    NEEDS_INCREMENTAL_STATE, Name, TracePacket, TracePacketDefaults, TrackDescriptor, TrackEvent,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

/// All packets are of one sequence, whose strings and defaults hold from packet to packet.
const SEQUENCE: u32 = 1;
/// Strings that are remembered, in bytes; when there are more, all are forgotten and said again.
const MAX_INTERNED: usize = 32 << 20;

/// A value of an argument.
pub enum Arg<'a> {
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A text.
    Text(&'a str),
}

/// Strings and their numbers, from 1.
#[derive(Default)]
struct Strings(HashMap<String, u64>);

impl Strings {
    /// The string's number, and whether it is new.
    fn number(&mut self, text: &str) -> (u64, bool) {
        if let Some(&iid) = self.0.get(text) {
            return (iid, false);
        }
        let iid = self.0.len() as u64 + 1;
        self.0.insert(text.to_owned(), iid);
        (iid, true)
    }
}

/// Where packets go.
pub struct Packets<'o> {
    out: BufWriter<&'o mut (dyn Write + Send)>,
    clock: u32,
    events: Strings,
    arguments: Strings,
    values: Strings,
    new: InternedData,
    interned: usize,
    /// Whether the next packet begins the strings anew.
    cleared: bool,
    generation: u64,
    bytes: Vec<u8>,
}

impl<'o> Packets<'o> {
    /// Packets whose times are of `clock`.
    pub fn new(out: &'o mut (dyn Write + Send), clock: u32) -> Packets<'o> {
        Packets {
            out: BufWriter::with_capacity(1 << 16, out),
            clock,
            events: Strings::default(),
            arguments: Strings::default(),
            values: Strings::default(),
            new: InternedData::default(),
            interned: 0,
            cleared: true,
            generation: 0,
            bytes: vec![],
        }
    }

    /// Changes when numbers of strings that the caller keeps lose their meaning. To be asked before an event is made.
    pub fn generation(&mut self) -> u64 {
        if self.interned > MAX_INTERNED {
            (self.events, self.arguments, self.values) = Default::default();
            self.new = InternedData::default();
            self.interned = 0;
            self.cleared = true;
            self.generation += 1;
        }
        self.generation
    }

    /// The number of an event's name.
    pub fn event_name(&mut self, name: &str) -> u64 {
        let (iid, is_new) = self.events.number(name);
        if is_new {
            self.interned += name.len();
            self.new.event_names.push(Name { iid: Some(iid), name: Some(name.to_owned()) });
        }
        iid
    }

    /// An argument of an event.
    pub fn argument(&mut self, name: &str, value: Arg<'_>) -> DebugAnnotation {
        let (name_iid, is_new) = self.arguments.number(name);
        if is_new {
            self.interned += name.len();
            self.new.debug_annotation_names.push(Name { iid: Some(name_iid), name: Some(name.to_owned()) });
        }
        let annotation = DebugAnnotation { name_iid: Some(name_iid), ..DebugAnnotation::default() };
        match value {
            Arg::Number(n) => DebugAnnotation { uint_value: Some(n), ..annotation },
            Arg::Signed(n) => DebugAnnotation { int_value: Some(n), ..annotation },
            Arg::Text(text) => {
                let (iid, is_new) = self.values.number(text);
                if is_new {
                    self.interned += text.len();
                    let str = Some(text.as_bytes().to_vec());
                    self.new.debug_annotation_string_values.push(InternedString { iid: Some(iid), str });
                }
                DebugAnnotation { string_value_iid: Some(iid), ..annotation }
            }
        }
    }

    /// Says what several clocks showed at one moment, and which of them is the trace's.
    pub fn clocks(&mut self, clocks: &[(u32, u64)]) -> io::Result<()> {
        let clock = |&(id, time)| Clock { clock_id: Some(id), timestamp: Some(time) };
        let clocks = clocks.iter().map(clock).collect();
        let snapshot = ClockSnapshot { clocks, primary_trace_clock: Some(self.clock) };
        self.packet(TracePacket { clock_snapshot: Some(snapshot), ..TracePacket::default() })
    }

    /// Declares a track.
    pub fn track(&mut self, track: TrackDescriptor) -> io::Result<()> {
        self.packet(TracePacket { track_descriptor: Some(track), ..TracePacket::default() })
    }

    /// Writes an event.
    pub fn event(&mut self, time: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(TracePacket { timestamp: Some(time), track_event: Some(event), ..TracePacket::default() })
    }

    fn packet(&mut self, mut packet: TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        packet.sequence_flags = Some(NEEDS_INCREMENTAL_STATE);
        if std::mem::take(&mut self.cleared) {
            packet.sequence_flags = Some(INCREMENTAL_STATE_CLEARED);
            packet.trace_packet_defaults = Some(TracePacketDefaults { timestamp_clock_id: Some(self.clock) });
        }
        if self.new != InternedData::default() {
            packet.interned_data = Some(std::mem::take(&mut self.new));
        }
        // A trace is nothing but packets, each as its field 1.
        self.bytes.clear();
        encode_key(1, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(packet.encoded_len() as u64, &mut self.bytes);
        packet.encode(&mut self.bytes).map_err(io::Error::other)?;
        self.out.write_all(&self.bytes)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::Trace;
    use super::*;

    #[test]
    fn strings_that_are_forgotten_are_said_again() {
        let mut out = vec![];
        let mut packets = Packets::new(&mut out, 3);
        let mut say = |interned: usize| {
            packets.interned = interned;
            packets.generation();
            let argument = packets.argument("read", Arg::Text("a name"));
            packets.event(1, TrackEvent { debug_annotations: vec![argument], ..TrackEvent::default() }).unwrap();
        };
        [0, 7, MAX_INTERNED + 1].into_iter().for_each(&mut say);
        packets.finish().unwrap();
        let packets = Trace::decode(&out[..]).unwrap().packet;
        let flags: Vec<_> = packets.iter().map(|p| (p.sequence_flags.unwrap(), p.interned_data.is_some())).collect();
        let (new, known) = ((INCREMENTAL_STATE_CLEARED, true), (NEEDS_INCREMENTAL_STATE, false));
        assert_eq!(flags, [new, known, new]);
        assert_eq!(packets[0], packets[2], "with the same numbers");
    }
}
