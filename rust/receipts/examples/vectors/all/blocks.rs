//! Logs of frames with an LZ4 block: good ones beside uncompressed ones, and blocks that are not what they claim.

use chio_receipts::{Compression, Fault, frame};

use super::logs::{Cases, ISSUER, trust};
use super::world::{How, World};

/// Adds the cases.
pub fn add(cases: &mut Cases) {
    let trust = trust();
    let packed = How { compression: Compression::Lz4, ..How::default() };
    let mut world = World::new(ISSUER, 1);
    let plain = world.batch(3, &How::default());
    let block = world.batch(9, &packed);
    let single = world.batch(1, &packed);
    let hidden = frame::withhold(&frame::decode(&block).unwrap(), Compression::Lz4, |place| place % 2 == 0).unwrap();
    cases.add("LZ4 blocks beside uncompressed records", &trust, &[plain.clone(), block, single], &[]);
    cases.add("withheld bodies in an LZ4 block", &trust, &[plain.clone(), hidden], &[]);
    let large = World::new(ISSUER, 1).batch(500, &packed);
    cases.add("batch of 500, LZ4", &trust, &[large], &[]);

    // What the first frame says of itself with other bytes as its block, which claims to expand to the same records.
    let stored = u32::from_le_bytes(plain[16..20].try_into().unwrap()) as usize;
    let records = &plain[96..96 + stored];
    let with = |block: &[u8], raw: usize| {
        let mut frame = [&plain[..96], block, &plain[96 + stored..]].concat();
        let total = frame.len();
        for (at, number) in [(4, 2), (8, total), (16, block.len()), (20, raw)] {
            frame[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        }
        frame
    };
    // A length of 15 and more: the rest follows in bytes, of which the last is not 255.
    let rest = |len: usize| [vec![255; (len - 15) / 255], vec![((len - 15) % 255) as u8]].concat();
    let literals = [&[0xf0], rest(stored).as_slice(), records].concat();
    cases.add("LZ4 block of literals only", &trust, &[with(&literals, stored)], &[]);
    let empty_end = |nibble: u8, offset: [u8; 2]| {
        // The padding of the last body ends in spaces: six of them come from a match, the last two are literals.
        let front = &records[..stored - 8];
        let head = [&[0xf0 | nibble], rest(front.len()).as_slice(), front, &offset].concat();
        [head.as_slice(), &[0x20, b' ', b' ']].concat()
    };
    cases.add("LZ4 block whose match overlaps what it writes", &trust, &[with(&empty_end(2, [1, 0]), stored)], &[]);
    let mut bad = |name: &str, block: &[u8], raw: usize| {
        cases.add(name, &trust, &[with(block, raw)], &[(0, Fault::Frame)]);
    };
    let far = u16::try_from(stored - 7).unwrap().to_le_bytes();
    bad("LZ4 block that is empty", &[], stored);
    bad("LZ4 block with a match at distance 0", &empty_end(2, [0, 0]), stored);
    bad("LZ4 block with a match before its beginning", &empty_end(2, far), stored);
    bad("LZ4 block with a match beyond the stated length", &empty_end(14, [1, 0]), stored);
    let whole = empty_end(4, [1, 0]);
    bad("LZ4 block that ends in a match", &whole[..whole.len() - 3], stored);
    bad("LZ4 block that ends in a distance", &whole[..whole.len() - 4], stored);
    bad("LZ4 block that ends in a length", &[0xf0, 255, 255], stored);
    bad("LZ4 block whose literals are cut off", &literals[..literals.len() - 1], stored);
    bad("LZ4 block with a byte after its end", &[&literals[..], &[0]].concat(), stored);
    bad("LZ4 block that is longer than stated", &literals, stored - 1);
    bad("LZ4 block that is shorter than stated", &literals, stored + 1);
    bad("LZ4 block that claims 4 GiB", &literals, u32::MAX as usize);
}
