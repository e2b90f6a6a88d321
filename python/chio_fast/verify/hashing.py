"""Keyed BLAKE3 for every use, the Merkle tree, Ed25519."""

from collections.abc import Sequence

from blake3 import blake3
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

BLOCK = 64
SIGNATURE_PREFIX = b"chio_fast checkpoint v1\n"


def _domain(use: str) -> bytes:
    return blake3(b"", derive_key_context=f"chio_fast receipts v1 {use}").digest()


LEAF = _domain("leaf")
NODE = _domain("node")
CHECKPOINT = _domain("checkpoint")
ATTESTATION = _domain("attestation")
PARTITION = _domain("partition key")
REQUEST = _domain("request key")
ID_TAG = _domain("id tag")
DIGEST_KEY = _domain("digest key id")


def keyed(domain: bytes, data: bytes) -> bytes:
    """Hash ``data`` in a domain."""
    return blake3(data, key=domain).digest()


def parts(domain: bytes, pieces: Sequence[bytes]) -> bytes:
    """Hash several parts in a domain, each preceded by its length (u64, little endian)."""
    return keyed(domain, b"".join(len(piece).to_bytes(8, "little") + piece for piece in pieces))


def id_tag(issuer: str, epoch: int) -> int:
    """Give the tag that every id of this issuer and epoch carries."""
    return int.from_bytes(parts(ID_TAG, [issuer.encode(), epoch.to_bytes(8, "little")])[:4], "little")


def key_id(public_key: bytes) -> bytes:
    """Name a public key."""
    return blake3(public_key).digest()[:16]


def leaf(body: bytes) -> bytes:
    """Hash a body, padded with spaces to whole blocks."""
    return keyed(LEAF, body + b" " * (-len(body) % BLOCK))


def node(left: bytes, right: bytes) -> bytes:
    """Hash two nodes into the one above."""
    return keyed(NODE, left + right)


def root(leaves: Sequence[bytes]) -> bytes:
    """Give the root over ``leaves`` (RFC 6962, section 2.1); there must be at least one."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node(root(leaves[:split]), root(leaves[split:]))


def root_of_proof(leaf_hash: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes | None:
    """Give the root that ``proof`` leads to (RFC 9162, section 2.1.3.2); None if its length does not fit the place."""
    if not 0 <= index < count:
        return None
    current, position, last = leaf_hash, index, count - 1
    siblings = iter(proof)
    while last:
        if position & 1 or position < last:
            sibling = next(siblings, None)
            if sibling is None:
                return None
            current = node(sibling, current) if position & 1 else node(current, sibling)
        position, last = position >> 1, last >> 1
    return None if next(siblings, None) is not None else current


# Ed25519, RFC 8032.
_PRIME = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_Y_OF_ORDER_8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
# The eight points of small order have these y.
_SMALL_ORDER_Y = {0, 1, _PRIME - 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8}


def _usable_point(encoded: bytes) -> bool:
    """Whether the encoding is canonical, and the point, if it is on the curve at all, is not of small order."""
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    return y < _PRIME and y not in _SMALL_ORDER_Y


def signature_holds(public_key: bytes, checkpoint_hash: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is this key's over the checkpoint.

    S < L, canonical A and R, neither of small order, and the equation without cofactor.
    """
    if len(public_key) != 32 or len(signature) != 64:
        return False
    if int.from_bytes(signature[32:], "little") >= _ORDER:
        return False
    if not _usable_point(public_key) or not _usable_point(signature[:32]):
        return False
    try:
        VerifyKey(public_key).verify(SIGNATURE_PREFIX + checkpoint_hash, signature)
    except CryptoError:
        return False
    return True
