// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ConstraintAnswer} from "../Evidence.sol";
import {
    AllocationEntry,
    Commitment,
    Constraint,
    ConstraintReceipt,
    Delegation,
    OrderingCommitment,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "../Objects.sol";
import {Signing} from "../Signing.sol";
import {SlotClock} from "../SlotClock.sol";
import {ValidDelegation} from "../ValidDelegation.sol";
import {IOrderingSlasher} from "../interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../interfaces/IRegistry.sol";
import {IRollupRegistry} from "../interfaces/IRollupRegistry.sol";
import {L1Transaction} from "./L1Transaction.sol";
import {Orderings} from "./Orderings.sol";

/// @title `Inbox.submit`, as an answer calls it
interface ISubmit {
    function submit(bytes[] calldata txs, SignedCommitment calldata seal, bytes calldata authority) external;
}

/// @title What clears the accused, and what accuses a delegation (design §8)
/// @notice Judges for the slasher that made it, which would else be larger than a contract may be. It holds nothing
/// and may do nothing. The slasher passes on the calls it gets, byte for byte: so the functions are called alike
/// on both, and what is asked of an answer is read from the accusation there.
/// @dev A function that judges an answer reverts with `BadAnswer` unless it holds.
contract AnswerJudge is SlotClock, ValidDelegation {
    /// @dev What an answer must be about.
    struct Place {
        uint64 rollupId;
        uint64 slot;
        uint16 segment;
        address committer;
        /// The market relay whose word counts; zero if there is none.
        address relay;
    }

    /// @notice Gas limit that a batch's L1 transaction has at least, and for each byte of its input. With less it may be
    /// included, fail, and leave no record: a way to keep a batch off L1 that the relay held. `submit` takes 65,000 and
    /// below 20 a byte, and at most 16 more are the byte's own; EIP-7623 asks 40 where that is more.
    uint256 public constant BATCH_GAS = 150_000;
    uint256 public constant BATCH_GAS_PER_BYTE = 40;

    uint64 private constant INCLUSION = 1;
    uint8 private constant HELD = 0;
    uint8 private constant DROPPED = 1;

    /// The seal in the canonical input of `submit` (`SubmitCall`): its offset is the second argument.
    uint256 private constant SEAL_OFFSET = 4 + 0x20;

    address private immutable SLASHER;
    IRegistry private immutable REGISTRY;
    IRollupRegistry private immutable ROLLUPS;
    address private immutable INBOX;
    bytes32 private immutable SIGNING_DOMAIN;
    uint256 private immutable CONSTRAINT_CUTOFF_MS;

    constructor(
        IRegistry registry,
        IRollupRegistry rollups,
        address inbox,
        bytes32 signingDomain,
        uint64 genesisMs,
        uint64 slotMs,
        uint256 constraintCutoffMs
    ) SlotClock(genesisMs, slotMs) {
        (SLASHER, REGISTRY, ROLLUPS, INBOX) = (msg.sender, registry, rollups, inbox);
        (SIGNING_DOMAIN, CONSTRAINT_CUTOFF_MS) = (signingDomain, constraintCutoffMs);
    }

    /// @notice MissedWindow: the relay held the constraint that carries the segment's seal, from before the cut-off.
    /// @dev The batch is posted to the Inbox here and now, so what the relay held is a batch that the Inbox takes, and it
    /// is on L1 from now on. Posting costs nothing more where EIP-7623's floor for the calldata is above it.
    /// @return relay whose receipt it is
    /// @return constraintsHash what the receipt names
    function answerConstraint(bytes32 accusation, ConstraintAnswer calldata answer)
        external
        returns (address relay, bytes32 constraintsHash)
    {
        Place memory place = _placeOf(accusation);
        if (answer.message.slot != place.slot) _bad("slot");
        if (answer.index >= answer.message.constraints.length) _bad("index");
        bytes calldata input = _batch(answer.message.constraints[answer.index], place.slot);
        // Nothing is taken from what the Inbox returns; it calls nobody.
        (bool taken,) = INBOX.call(input);
        if (!taken) _bad("batch");
        _seal(input, place);
        constraintsHash = keccak256(abi.encode(answer.message));
        _receipt(answer.receipt, place.slot, constraintsHash, place.relay);
        if (answer.receipt.receipt.status != HELD) _bad("status");
        if (answer.receipt.receipt.receivedAtMs + CONSTRAINT_CUTOFF_MS >= slotStartMs(place.slot)) {
            _bad("late");
        }
        relay = place.relay;
    }

    /// @notice Against such an answer: the same relay dropped the same constraints.
    /// @return relay whose receipt it is
    function rebut(bytes32 accusation, SignedConstraintReceipt calldata dropped)
        external
        view
        returns (address relay)
    {
        IOrderingSlasher.Accusation memory open = IOrderingSlasher(SLASHER).getAccusation(accusation);
        relay = ROLLUPS.termsAt(open.rollupId, open.slot).relay;
        _receipt(dropped, open.slot, open.constraintsHash, relay);
        if (dropped.receipt.status != DROPPED) _bad("status");
    }

    /// @notice UnauthorizedSequencing: the valid delegation for (rollup, slot) names the signer (design §2).
    function answerDelegation(
        bytes32 accusation,
        SignedDelegation calldata signed,
        SignedDelegationReceipt calldata receipt
    ) external view {
        Place memory place = _placeOf(accusation);
        (SlotAllocation memory allocation, string memory fault) =
            _validAllocation(REGISTRY, SIGNING_DOMAIN, place.slot, place.relay, signed, receipt);
        if (bytes(fault).length != 0) _bad(fault);
        for (uint256 i = 0; i < allocation.entries.length; ++i) {
            AllocationEntry memory entry = allocation.entries[i];
            if (entry.rollupId == place.rollupId && entry.committer == place.committer) return;
        }
        _bad("entry");
    }

    /// @notice An accusation of Misallocation: a delegation that the operator's key signed, with entries for its slot.
    /// @return judged the delegation's hash
    /// @return signer what stands for the proposer
    function accuseDelegation(
        IRegistry.RegistrationProof calldata proof,
        SignedDelegation calldata delegation
    ) external view returns (bytes32 judged, address signer) {
        REGISTRY.verifyDelegation(proof, delegation);
        Delegation calldata message = delegation.delegation;
        (bool formed, SlotAllocation memory allocation) = _allocationOf(message.metadata);
        if (!formed || allocation.slot != message.slot || allocation.entries.length == 0) {
            revert IOrderingSlasher.NoEntries();
        }
        return (Signing.delegationHash(message), Orderings.proposerOf(message));
    }

    /// @notice Misallocation: the relay's result states the delegation's allocation. The relay is the one that the terms
    /// of every entry's rollup name.
    function answerResult(
        bytes32 accusation,
        SignedDelegation calldata delegation,
        SignedAuctionResult calldata signed
    ) external view {
        bytes32 judged = IOrderingSlasher(SLASHER).getAccusation(accusation).judged;
        Delegation calldata message = delegation.delegation;
        if (Signing.delegationHash(message) != judged) _bad("delegation");
        // It was seen to be well formed when it was accused.
        (, SlotAllocation memory allocation) = _allocationOf(message.metadata);
        if (signed.result.slot != message.slot) _bad("slot");
        if (signed.result.allocationHash != keccak256(abi.encode(allocation))) _bad("hash");
        address relay = _recover(
            Signing.auctionResultRoot(signed.result), signed.signingId, signed.nonce, signed.signature
        );
        if (relay == address(0)) _bad("relay");
        for (uint256 i = 0; i < allocation.entries.length; ++i) {
            // The entries are those of an auction: sixteen.
            if (ROLLUPS.termsAt(allocation.entries[i].rollupId, message.slot).relay != relay) _bad("relay");
        }
    }

    function _placeOf(bytes32 accusation) private view returns (Place memory place) {
        IOrderingSlasher.Accusation memory open = IOrderingSlasher(SLASHER).getAccusation(accusation);
        (place.rollupId, place.slot, place.segment) = (open.rollupId, open.slot, open.segment);
        place.committer = open.signer;
        place.relay = ROLLUPS.termsAt(open.rollupId, open.slot).relay;
    }

    /// @dev The relay's word on these constraints, whatever it says.
    function _receipt(
        SignedConstraintReceipt calldata signed,
        uint64 slot,
        bytes32 constraintsHash,
        address relay
    ) private view {
        ConstraintReceipt calldata receipt = signed.receipt;
        if (receipt.slot != slot) _bad("slot");
        if (receipt.constraintsHash != constraintsHash) _bad("hash");
        bytes32 root = Signing.constraintReceiptRoot(receipt);
        address signer = _recover(root, signed.signingId, signed.nonce, signed.signature);
        // A rollup without terms names no relay, and a signature of nobody is not its.
        if (signer == address(0) || signer != relay) _bad("relay");
    }

    function _recover(bytes32 objectRoot, bytes32 signingId, uint64 nonce, bytes calldata signature)
        private
        view
        returns (address)
    {
        bytes32 root = Signing.signingRoot(objectRoot, signingId, nonce, block.chainid, SIGNING_DOMAIN);
        return Signing.recover(root, signature);
    }

    /// @dev The input of the transaction that a type-1 constraint puts into the block of `slot`.
    function _batch(Constraint calldata carried, uint64 slot) private view returns (bytes calldata) {
        if (carried.constraintType != INCLUSION) _bad("constraint");
        (bool ok, L1Transaction.Call memory call, bytes calldata input) =
            L1Transaction.read(_inclusion(carried.payload, slot));
        // Ether sent along would make the call fail; what an access list costs is not reckoned.
        if (!ok || call.chainId != block.chainid || call.to != INBOX || call.value != 0 || call.hasAccessList)
        {
            _bad("transaction");
        }
        if (call.gasLimit < BATCH_GAS + BATCH_GAS_PER_BYTE * input.length) _bad("gas");
        // An input that is too short has no selector to compare.
        // forge-lint: disable-next-line(unsafe-typecast)
        if (input.length < 4 || bytes4(input) != ISubmit.submit.selector) _bad("batch");
        return input;
    }

    /// @dev The transaction in `abi.encode(InclusionPayload)`, which has one form.
    function _inclusion(bytes calldata payload, uint64 slot) private pure returns (bytes calldata signedTx) {
        // The struct's offset, slot, offset of the transaction, its length.
        if (payload.length < 0x80) _bad("constraint");
        (uint256 offset, uint256 toSlot, uint256 inner, uint256 length) =
            abi.decode(payload[:0x80], (uint256, uint256, uint256, uint256));
        signedTx = payload[0x80:];
        if (offset != 0x20 || inner != 0x40 || length > signedTx.length) _bad("constraint");
        if (signedTx.length != (length + 0x1f) & ~uint256(0x1f)) _bad("constraint");
        for (uint256 i = length; i < signedTx.length; ++i) {
            if (signedTx[i] != 0) _bad("constraint");
        }
        if (toSlot != slot) _bad("slot");
        return signedTx[:length];
    }

    /// @dev `input` is known to be canonical: the Inbox took it.
    function _seal(bytes calldata input, Place memory place) private view {
        SignedCommitment calldata signed;
        assembly ("memory-safe") {
            signed := add(add(input.offset, 4), calldataload(add(input.offset, SEAL_OFFSET)))
        }
        Commitment calldata message = signed.commitment;
        OrderingCommitment memory ordering = Orderings.read(message);
        if (
            ordering.rollupId != place.rollupId || ordering.slot != place.slot
                || ordering.segment != place.segment
        ) _bad("place");
        if (message.slasher != SLASHER) _bad("slasher");
        if (Orderings.recover(signed, SIGNING_DOMAIN) != place.committer) _bad("committer");
    }

    function _bad(string memory reason) private pure {
        revert IOrderingSlasher.BadAnswer(reason);
    }
}
