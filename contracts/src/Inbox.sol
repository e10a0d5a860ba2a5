// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {OrderingCommitment, SignedCommitment} from "./Objects.sol";
import {OrderingMerkle} from "./OrderingMerkle.sol";
import {Signing} from "./Signing.sol";
import {SubmitCall} from "./SubmitCall.sol";

/// @title Where the rollups' ordered batches land on L1 (design §4, §9)
/// @notice `submit` takes a segment's transactions and its signed seal, recomputes the root that the seal commits
/// to, and records the batch under the committer whose signature it recovers. Who that committer should be is
/// not judged here: a rollup node reads the record of the committer that the valid delegation names.
/// Anyone may post. A call reverts only if it is malformed, or seal, signature and transactions do not match;
/// never for the order or the time in which it comes.
contract Inbox {
    /// @notice A recorded batch.
    struct Record {
        /// Merkle root over the segment's transactions; zero for an empty segment.
        bytes32 txRoot;
        /// Number of transactions.
        uint32 count;
        /// Timestamp of the L1 block that recorded it, in seconds; zero if there is no record.
        uint64 time;
        /// 1 if the batch ends a segment, 2 if it ends the window.
        uint8 kind;
    }

    /// @notice A transaction whose inclusion L1 forces.
    struct ForcedItem {
        /// keccak256 of the transaction's bytes.
        bytes32 txHash;
        /// Timestamp of the L1 block that queued it, in seconds.
        uint64 time;
    }

    /// @notice A batch was recorded: the first of its committer for this segment.
    event BatchRecorded(
        uint64 indexed rollupId,
        uint64 indexed slot,
        address indexed committer,
        uint16 segment,
        bytes32 txRoot,
        uint32 count,
        uint64 time
    );

    /// @notice The call carries an authority (delegation and receipt), whether or not it recorded a batch: one who
    /// posts the seal first without it does not keep it from those who derive.
    event AuthorityPosted(uint64 indexed rollupId, uint64 indexed slot, address indexed committer);

    /// @notice The call did not come straight from an account without code, so the transaction's input need not be
    /// the call's: here is the call's. Absent, the transaction's input is the call.
    event CallData(bytes data);

    /// @notice A transaction was queued at `index` of its rollup's forced-inclusion queue.
    event ForcedInclusionQueued(
        uint64 indexed rollupId, uint64 indexed index, bytes32 txHash, uint64 time, bytes transaction
    );

    /// @notice The commitment is not an ordering commitment (type 0x11).
    error NotAnOrdering(uint64 commitmentType);
    /// @notice The payload is not as long as an encoded OrderingCommitment.
    error PayloadLength(uint256 length);
    /// @notice The ordering commitment seals nothing: its kind is neither 1 nor 2.
    error NotASeal(uint8 kind);
    /// @notice A seal carries no transactions of its own.
    error SealWithTransactions(uint32 txCount);
    /// @notice The seal counts other than the transactions given.
    error CountMismatch(uint256 promised, uint256 given);
    /// @notice The seal's root is not that of the transactions given.
    error RootMismatch(bytes32 promised, bytes32 given);
    /// @notice The signature is not 65 bytes with low s and v 27 or 28, or recovers nobody.
    error BadSignature();
    /// @notice A forced transaction is empty or longer than `MAX_FORCED_BYTES`.
    error ForcedLength(uint256 length);

    /// @notice Commitment type of an ordering.
    uint64 public constant ORDERING = 0x11;
    /// @notice Longest transaction that can be queued: what the default batch budget leaves for one, 104 KiB.
    uint256 public constant MAX_FORCED_BYTES = 104 * 1024;

    uint256 private constant ORDERING_BYTES = 11 * 32;
    uint8 private constant SEGMENT_SEAL = 1;
    uint8 private constant WINDOW_SEAL = 2;

    /// @notice Domain of every signature that counts here; the network's genesis fork version is in it.
    bytes32 public immutable SIGNING_DOMAIN;

    mapping(bytes32 key => Record) private _records;
    mapping(uint64 rollupId => ForcedItem[]) private _forced;

    /// @param genesisForkVersion the consensus layer's fork version at genesis
    constructor(bytes4 genesisForkVersion) {
        SIGNING_DOMAIN = Signing.domain(genesisForkVersion);
    }

    /// @notice Posts a segment: its transactions in order, and the committer's signed seal over them.
    /// @param txs the segment's transactions, each as it was promised
    /// @param seal the segment's seal: kind 1 or 2, `firstIndex` the count and `txRoot` the root of `txs`
    /// @param authority empty, or `abi.encode(SignedDelegation, SignedDelegationReceipt)`; not judged here
    /// @dev The first record of (rollup, slot, segment, committer) stands; a later one changes nothing.
    function submit(bytes[] calldata txs, SignedCommitment calldata seal, bytes calldata authority) external {
        OrderingCommitment memory ordering = _sealOf(seal);
        if (ordering.firstIndex != txs.length) revert CountMismatch(ordering.firstIndex, txs.length);
        if (seal.signature.length != 65) revert BadSignature();
        bytes32 txRoot = OrderingMerkle.root(SubmitCall.leaves(txs, seal, authority));
        if (ordering.txRoot != txRoot) revert RootMismatch(ordering.txRoot, txRoot);
        address committer = _signerOf(seal);

        if (msg.sender != tx.origin || msg.sender.code.length != 0) emit CallData(msg.data);
        if (authority.length != 0) emit AuthorityPosted(ordering.rollupId, ordering.slot, committer);

        bytes32 key = _key(ordering.rollupId, ordering.slot, ordering.segment, committer);
        if (_records[key].time != 0) return;
        uint64 time = uint64(block.timestamp);
        _records[key] = Record({txRoot: txRoot, count: ordering.firstIndex, time: time, kind: ordering.kind});
        emit BatchRecorded(
            ordering.rollupId, ordering.slot, committer, ordering.segment, txRoot, ordering.firstIndex, time
        );
    }

    /// @notice Queues a transaction that the rollup's windows must include once it is due.
    /// @return index its place in the rollup's queue
    function enqueue(uint64 rollupId, bytes calldata transaction) external returns (uint64 index) {
        uint256 length = transaction.length;
        if (length == 0 || length > MAX_FORCED_BYTES) revert ForcedLength(length);
        ForcedItem[] storage queue = _forced[rollupId];
        index = uint64(queue.length);
        bytes32 txHash = keccak256(transaction);
        uint64 time = uint64(block.timestamp);
        queue.push(ForcedItem(txHash, time));
        emit ForcedInclusionQueued(rollupId, index, txHash, time, transaction);
    }

    /// @notice The batch that `committer` recorded for a segment; all zero if there is none.
    function record(uint64 rollupId, uint64 slot, uint16 segment, address committer)
        external
        view
        returns (Record memory)
    {
        return _records[_key(rollupId, slot, segment, committer)];
    }

    /// @notice Number of transactions ever queued for a rollup: the head a window would have if all were due.
    function forcedHead(uint64 rollupId) external view returns (uint64) {
        return uint64(_forced[rollupId].length);
    }

    /// @notice The head a window must have at least: the number of items queued at `time` (seconds) or before.
    function forcedHeadAt(uint64 rollupId, uint64 time) external view returns (uint64) {
        ForcedItem[] storage queue = _forced[rollupId];
        uint64 low = 0;
        uint64 high = uint64(queue.length);
        while (low < high) {
            uint64 middle = low + (high - low) / 2;
            if (queue[middle].time <= time) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    /// @notice An item of a rollup's queue; all zero past its end.
    function forcedItem(uint64 rollupId, uint64 index) external view returns (ForcedItem memory item) {
        ForcedItem[] storage queue = _forced[rollupId];
        if (index < queue.length) item = queue[index];
    }

    function _sealOf(SignedCommitment calldata seal)
        private
        pure
        returns (OrderingCommitment memory ordering)
    {
        uint64 commitmentType = seal.commitment.commitmentType;
        if (commitmentType != ORDERING) revert NotAnOrdering(commitmentType);
        bytes calldata payload = seal.commitment.payload;
        if (payload.length != ORDERING_BYTES) revert PayloadLength(payload.length);
        ordering = abi.decode(payload, (OrderingCommitment));
        if (ordering.kind != SEGMENT_SEAL && ordering.kind != WINDOW_SEAL) revert NotASeal(ordering.kind);
        if (ordering.txCount != 0) revert SealWithTransactions(ordering.txCount);
    }

    function _signerOf(SignedCommitment calldata seal) private view returns (address committer) {
        bytes32 root = Signing.signingRoot(
            Signing.commitmentRoot(seal.commitment), seal.signingId, seal.nonce, block.chainid, SIGNING_DOMAIN
        );
        committer = Signing.recover(root, seal.signature);
        if (committer == address(0)) revert BadSignature();
    }

    function _key(uint64 rollupId, uint64 slot, uint16 segment, address committer)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(rollupId, slot, segment, committer));
    }
}
