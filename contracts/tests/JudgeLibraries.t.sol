// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {
    AtomicityEvidence,
    BrokenChainEvidence,
    EquivocationEvidence,
    MissedWindowEvidence,
    OmissionEvidence
} from "../src/Evidence.sol";
import {SignedCommitment} from "../src/Objects.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {Canonical} from "../src/judge/Canonical.sol";
import {L1Transaction} from "../src/judge/L1Transaction.sol";
import {Positions} from "../src/judge/Positions.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// The readers of evidence and of L1 transactions, against Solidity's decoder and OpenZeppelin's RLP.
contract JudgeLibrariesTest is SlasherFixture {
    using RLP for Memory.Slice;

    /// What needs calldata.
    function takes(bytes calldata encoded) external pure returns (uint8 fault) {
        bytes calldata detail;
        (fault, detail) = Canonical.evidence(encoded);
        Canonical.check(fault, detail);
    }

    function decodeEvidence(bytes calldata encoded) external view returns (bytes memory) {
        (uint8 fault, bytes memory detail) = abi.decode(encoded, (uint8, bytes));
        return abi.encode(fault, this.again(fault, detail));
    }

    /// The detail, decoded and encoded anew.
    function again(uint8 fault, bytes calldata detail) external pure returns (bytes memory) {
        if (fault == 1 || fault == 3) return abi.encode(abi.decode(detail, (EquivocationEvidence)));
        if (fault == 2) {
            BrokenChainEvidence memory shown = abi.decode(detail, (BrokenChainEvidence));
            require(shown.previous.length < 2);
            return abi.encode(shown);
        }
        if (fault == 4) return abi.encode(abi.decode(detail, (OmissionEvidence)));
        if (fault == 5) return abi.encode(abi.decode(detail, (AtomicityEvidence)));
        if (fault == 6) return abi.encode(abi.decode(detail, (MissedWindowEvidence)));
        require(fault == 7 || fault == 8);
        return "";
    }

    /// Exactly the one encoding is taken.
    function agree(bytes memory encoded) internal view returns (bool taken) {
        bool isOne;
        try this.decodeEvidence(encoded) returns (bytes memory reencoded) {
            isOne = keccak256(reencoded) == keccak256(encoded);
        } catch {}
        try this.takes(encoded) {
            taken = true;
        } catch (bytes memory why) {
            assertTrue(
                bytes4(why) == IOrderingSlasher.MalformedEvidence.selector
                    || bytes4(why) == IOrderingSlasher.UnknownFault.selector
            );
        }
        assertEq(taken, isOne);
    }

    /// Evidence of each fault, with payloads, signatures and paths of any length.
    function sample(uint256 kind, uint256 size) internal view returns (bytes memory) {
        SignedCommitment memory one = sign(microblock());
        one.signature = new bytes(size % 70);
        one.commitment.payload = new bytes(size % 99);
        if (kind == 0) return equivocation(one);
        if (kind == 1) return brokenChain(one);
        if (kind == 2) return brokenChain();
        if (kind == 3) return postSeal(one);
        bytes32[] memory path = new bytes32[](size % 5);
        if (kind == 4) {
            return
                omission(
                    OmissionEvidence(7, keccak256("a"), path, one, keccak256("b"), new bytes32[](size % 3))
                );
        }
        if (kind == 5) return atomicity(AtomicityEvidence(1, one, keccak256("a"), path));
        if (kind == 6) return missedWindow(3);
        if (kind == 7) return evidenceOf(7, "");
        return unauthorized();
    }

    function testFuzz_everyEvidenceIsTaken(uint256 kind, uint256 size) public view {
        assertTrue(agree(sample(bound(kind, 0, 8), size)));
    }

    /// forge-config: default.fuzz.runs = 4096
    function testFuzz_onlyTheOneEncodingIsTaken(
        uint256 kind,
        uint256 size,
        uint256 place,
        uint256 value,
        bool small
    ) public view {
        bytes memory encoded = sample(bound(kind, 0, 8), size);
        place = bound(place, 0, encoded.length / 32 - 1) * 32;
        if (small) value = bound(value, 0, encoded.length + 64);
        assembly ("memory-safe") {
            mstore(add(add(encoded, 0x20), place), value)
        }
        agree(encoded);
    }

    function testFuzz_noOtherLengthIsTaken(uint256 kind, uint256 size, uint256 length, uint8 fill)
        public
        view
    {
        bytes memory encoded = sample(bound(kind, 0, 8), size);
        length = bound(length, 0, encoded.length + 70);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            other[i] = i < encoded.length ? encoded[i] : bytes1(fill);
        }
        assertEq(agree(other), length == encoded.length);
    }

    function testFuzz_noiseIsNotTaken(bytes calldata noise) public view {
        agree(noise);
    }

    // ---- Trees.

    function test_depth() public pure {
        assertEq(Positions.depth(0), 0);
        assertEq(Positions.depth(1), 0);
        for (uint256 count = 2; count < 300; ++count) {
            uint256 depth = 0;
            for (uint256 width = 1; width < count; width *= 2) {
                ++depth;
            }
            assertEq(Positions.depth(count), depth);
        }
        assertEq(Positions.depth(type(uint32).max), 32);
    }

    // ---- L1 transactions.

    function read(bytes calldata raw)
        external
        pure
        returns (bool ok, L1Transaction.Call memory call, bytes memory input)
    {
        bytes calldata found;
        (ok, call, found) = L1Transaction.read(raw);
        input = found;
    }

    /// By OpenZeppelin's reader, which is laxer: numbers may begin with zeros.
    function readByRlp(bytes calldata raw) external pure returns (L1 memory message, bytes memory reencoded) {
        require(raw.length != 0 && raw[0] == 0x02);
        Memory.Slice[] memory list = RLP.decodeList(raw[1:]);
        require(list.length == 12);
        message.chainId = list[0].readUint256();
        message.gasLimit = list[4].readUint256();
        require(Memory.length(list[5]) == 21);
        message.to = list[5].readAddress();
        message.value = list[6].readUint256();
        message.input = list[7].readBytes();
        message.accessList = Memory.toBytes(list[8]);
        list[8].readList();
        // Encoded anew, numbers have no zeros before them.
        bytes[] memory items = new bytes[](12);
        for (uint256 i = 0; i < 12; ++i) {
            items[i] = Memory.toBytes(list[i]);
            if (i < 5 || i == 6 || i > 8) items[i] = RLP.encode(list[i].readUint256());
        }
        reencoded = abi.encodePacked(hex"02", RLP.encode(items));
    }

    function agreeOn(bytes memory raw) internal view returns (bool) {
        (bool ok, L1Transaction.Call memory call, bytes memory input) = this.read(raw);
        try this.readByRlp(raw) returns (L1 memory message, bytes memory reencoded) {
            assertEq(ok, keccak256(raw) == keccak256(reencoded));
            if (ok) {
                assertEq(call.chainId, message.chainId);
                assertEq(call.gasLimit, message.gasLimit);
                assertEq(call.to, message.to);
                assertEq(call.value, message.value);
                assertEq(call.hasAccessList, message.accessList.length > 1);
                assertEq(keccak256(input), keccak256(message.input));
            }
        } catch {
            // What is in an access list is not looked at: a batch has none.
            assertFalse(ok && !call.hasAccessList);
        }
        return ok;
    }

    function transaction(uint256 seed, uint256 size) internal pure returns (L1 memory message) {
        message.chainId = seed % 7 == 0 ? 0 : seed >> (seed % 256);
        message.gasLimit = seed % 1000;
        message.to = address(uint160(uint256(keccak256(abi.encode(seed)))));
        message.value = seed % 3 == 0 ? 0 : seed;
        message.input = new bytes(size);
        for (uint256 i = 0; i < size; i += 7) {
            message.input[i] = bytes1(uint8(seed >> (i % 200)));
        }
        message.accessList = hex"c0";
        if (seed % 5 == 0) {
            bytes[] memory keys = new bytes[](seed % 4);
            for (uint256 i = 0; i < keys.length; ++i) {
                keys[i] = hex"c0";
            }
            message.accessList = RLP.encode(keys);
        }
    }

    function testFuzz_everyTransactionIsRead(uint256 seed, uint256 size) public view {
        assertTrue(agreeOn(encode(transaction(seed, bound(size, 0, 400)))));
    }

    function test_transactionsOfEveryLengthOfLength() public view {
        uint24[9] memory sizes = [0, 1, 2, 55, 56, 255, 256, 65_535, 65_536];
        for (uint256 i = 0; i < sizes.length; ++i) {
            assertTrue(agreeOn(encode(transaction(1, sizes[i]))));
        }
    }

    /// forge-config: default.fuzz.runs = 4096
    function testFuzz_onlyOneFormOfATransactionIsRead(
        uint256 seed,
        uint256 size,
        uint256 place,
        uint8 value,
        bool head
    ) public view {
        bytes memory raw = encode(transaction(seed, bound(size, 0, 200)));
        raw[bound(place, 0, head ? 40 : raw.length - 1)] = bytes1(value);
        agreeOn(raw);
    }

    function testFuzz_noPartOfATransactionIsRead(uint256 seed, uint256 size, uint256 length) public view {
        bytes memory raw = encode(transaction(seed, bound(size, 0, 200)));
        length = bound(length, 0, raw.length + 3);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length && i < raw.length; ++i) {
            other[i] = raw[i];
        }
        assertEq(agreeOn(other), length == raw.length);
    }

    function testFuzz_noiseIsNoTransaction(bytes memory noise) public view {
        agreeOn(noise);
        agreeOn(abi.encodePacked(hex"02", noise));
    }

    function test_moreFieldsAreNoTransaction() public view {
        bytes[] memory items = fields(transaction(1, 10));
        bytes[] memory more = new bytes[](13);
        bytes[] memory fewer = new bytes[](11);
        for (uint256 i = 0; i < 12; ++i) {
            more[i] = items[i];
            if (i < 11) fewer[i] = items[i];
        }
        more[12] = hex"01";
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(more))));
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(fewer))));
        // A list where a string belongs, and the other way round.
        items[7] = hex"c0";
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(items))));
        items = fields(transaction(1, 10));
        items[8] = hex"80";
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(items))));
        items[8] = hex"c0";
        items[5] = RLP.encode(bytes(hex"112233"));
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(items))));
        items[5] = hex"80"; // a creation
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(items))));
        items = fields(transaction(1, 10));
        items[0] = RLP.encode(new bytes(33));
        assertFalse(agreeOn(abi.encodePacked(hex"02", RLP.encode(items))));
    }

    /// A length so large that it overflows is no length.
    function test_hugeLengths() public view {
        assertFalse(agreeOn(hex"02ffffffffffffffffff"));
        assertFalse(agreeOn(hex"02f8"));
        assertFalse(agreeOn(hex"02bfffffffffffffffff0102"));
        assertFalse(agreeOn(hex"02"));
    }
}
