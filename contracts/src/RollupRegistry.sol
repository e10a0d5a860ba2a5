// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {RollupRegistration} from "./Objects.sol";
import {SlotClock} from "./SlotClock.sol";
import {IRollupRegistry} from "./interfaces/IRollupRegistry.sol";

/// @title The rollups that sell their ordering, and their terms (design §2)
/// @notice The registrar grants a chain id once and has no say afterwards: terms and transfer are the owner's alone.
/// What applies at a slot less than `NOTICE_SLOTS` ahead, or past, never changes, so that bids, windows and judgements
/// all read the same.
contract RollupRegistry is IRollupRegistry, SlotClock {
    /// @notice Bounds of `maxBatchBytes`, those of a gateway: 16 KiB are kept for what is not transactions.
    uint32 public constant MIN_BATCH_BYTES = 32 * 1024;
    uint32 public constant MAX_BATCH_BYTES = 16 * 1024 * 1024;
    /// @notice Longest `uri`, bytes.
    uint256 public constant MAX_URI_BYTES = 256;

    uint16 private constant WHOLE_BPS = 10_000;
    /// @dev Policies are `fcfs` and `priority_fee` (design §4).
    uint8 private constant MAX_POLICY = 1;
    /// @dev Levels are C0 to C5 (design §7).
    uint8 private constant MAX_LEVEL = 5;

    /// @dev A registration as stored: what settlement reads first, in few words.
    struct Version {
        uint64 fromSlot;
        address relay;
        uint16 inclusionShareBps;
        bool active;
        uint256 reserveWei;
        address revenueRecipient;
        uint64 maxTxGas;
        address reserveCommitter;
        uint32 maxBatchBytes;
        uint8 policy;
        uint8 requiredLevel;
        bool opaque;
        string uri;
    }

    /// @notice Who may grant chain ids.
    address public immutable REGISTRAR;
    /// @notice Slots between a change and the first slot that it applies to.
    uint64 public immutable NOTICE_SLOTS;

    /// @notice Who owns a rollup; zero if it was not granted.
    mapping(uint64 rollupId => address) public ownerOf;
    /// @notice Whom its owner offered it to; zero if nobody.
    mapping(uint64 rollupId => address) public offeredTo;
    mapping(uint64 rollupId => Version[]) private _versions;

    /// @param registrar who grants chain ids
    /// @param genesisMs when slot 0 starts, Unix milliseconds
    /// @param slotMs length of a slot, milliseconds
    /// @param noticeSlots slots between a change and the first slot that it applies to: more than the two epochs that
    /// proposers are known ahead, for bids are made from then on. How long an epoch is cannot be asked here: who deploys
    /// has to know.
    constructor(address registrar, uint64 genesisMs, uint64 slotMs, uint64 noticeSlots)
        SlotClock(genesisMs, slotMs)
    {
        if (registrar == address(0)) revert BadField("registrar");
        if (noticeSlots == 0) revert BadField("noticeSlots");
        REGISTRAR = registrar;
        NOTICE_SLOTS = noticeSlots;
    }

    /// @notice Gives a chain id to its owner, once and for good.
    function grant(uint64 rollupId, address owner) external {
        if (msg.sender != REGISTRAR) revert NotRegistrar();
        if (rollupId == 0) revert BadField("rollupId");
        if (owner == address(0)) revert BadField("owner");
        if (ownerOf[rollupId] != address(0)) revert AlreadyGranted(rollupId);
        ownerOf[rollupId] = owner;
        emit RollupGranted(rollupId, owner);
    }

    /// @notice Offers the rollup to another owner, who has to accept. A new offer replaces the one before; zero takes
    /// it back.
    function offer(uint64 rollupId, address to) external {
        _onlyOwner(rollupId);
        offeredTo[rollupId] = to;
        emit RollupOffered(rollupId, msg.sender, to);
    }

    /// @notice Takes what was offered. The terms stand until the new owner changes them.
    function accept(uint64 rollupId) external {
        if (offeredTo[rollupId] != msg.sender) revert NotOffered(rollupId);
        delete offeredTo[rollupId];
        ownerOf[rollupId] = msg.sender;
        emit RollupAccepted(rollupId, msg.sender);
    }

    /// @notice Sets the terms from `NOTICE_SLOTS` after the present slot on. Of several changes in one slot the last
    /// stands.
    /// @return fromSlot the first slot that they apply to
    function update(RollupRegistration calldata registration) external returns (uint64 fromSlot) {
        uint64 rollupId = registration.rollupId;
        _onlyOwner(rollupId);
        _check(registration);
        fromSlot = slotAt(block.timestamp) + NOTICE_SLOTS;

        Version[] storage versions = _versions[rollupId];
        uint256 count = versions.length;
        Version storage version =
            count != 0 && versions[count - 1].fromSlot == fromSlot ? versions[count - 1] : versions.push();
        version.fromSlot = fromSlot;
        version.relay = registration.relay;
        version.inclusionShareBps = registration.inclusionShareBps;
        version.active = registration.active;
        version.reserveWei = registration.reserveWei;
        version.revenueRecipient = registration.revenueRecipient;
        version.maxTxGas = registration.maxTxGas;
        version.reserveCommitter = registration.reserveCommitter;
        version.maxBatchBytes = registration.maxBatchBytes;
        version.policy = registration.policy;
        version.requiredLevel = registration.requiredLevel;
        version.opaque = registration.opaque;
        version.uri = registration.uri;
        emit RollupUpdated(rollupId, fromSlot, registration);
    }

    /// @inheritdoc IRollupRegistry
    function termsAt(uint64 rollupId, uint64 slot) external view returns (Terms memory terms) {
        uint256 count = _countAt(rollupId, slot);
        if (count == 0) return terms;
        Version storage version = _versions[rollupId][count - 1];
        terms = Terms({
            reserveWei: version.reserveWei,
            reserveCommitter: version.reserveCommitter,
            revenueRecipient: version.revenueRecipient,
            relay: version.relay,
            inclusionShareBps: version.inclusionShareBps,
            active: version.active
        });
    }

    /// @notice All of the terms in force at an L1 slot; all zero if there are none yet.
    function registrationAt(uint64 rollupId, uint64 slot)
        external
        view
        returns (RollupRegistration memory registration)
    {
        uint256 count = _countAt(rollupId, slot);
        if (count == 0) return registration;
        Version storage version = _versions[rollupId][count - 1];
        registration = RollupRegistration({
            rollupId: rollupId,
            reserveWei: version.reserveWei,
            reserveCommitter: version.reserveCommitter,
            revenueRecipient: version.revenueRecipient,
            inclusionShareBps: version.inclusionShareBps,
            maxBatchBytes: version.maxBatchBytes,
            maxTxGas: version.maxTxGas,
            policy: version.policy,
            requiredLevel: version.requiredLevel,
            opaque: version.opaque,
            active: version.active,
            relay: version.relay,
            uri: version.uri
        });
    }

    function _onlyOwner(uint64 rollupId) private view {
        if (ownerOf[rollupId] != msg.sender) revert NotOwner(rollupId);
    }

    function _check(RollupRegistration calldata registration) private pure {
        if (registration.revenueRecipient == address(0)) revert BadField("revenueRecipient");
        if (registration.relay == address(0)) revert BadField("relay");
        if (registration.inclusionShareBps > WHOLE_BPS) revert BadField("inclusionShareBps");
        uint32 batchBytes = registration.maxBatchBytes;
        if (batchBytes < MIN_BATCH_BYTES || batchBytes > MAX_BATCH_BYTES) revert BadField("maxBatchBytes");
        // Opaque transactions have no gas that anyone but the rollup could read.
        if (registration.maxTxGas == 0 && !registration.opaque) revert BadField("maxTxGas");
        if (registration.policy > MAX_POLICY) revert BadField("policy");
        if (registration.requiredLevel > MAX_LEVEL) revert BadField("requiredLevel");
        if (bytes(registration.uri).length > MAX_URI_BYTES) revert BadField("uri");
    }

    /// @dev How many versions start at `slot` or before. They ascend, for the clock does.
    function _countAt(uint64 rollupId, uint64 slot) private view returns (uint256 low) {
        Version[] storage versions = _versions[rollupId];
        uint256 high = versions.length;
        // Most reads are of the newest terms.
        if (high != 0 && versions[high - 1].fromSlot <= slot) return high;
        while (low < high) {
            uint256 middle = low + (high - low) / 2;
            if (versions[middle].fromSlot <= slot) low = middle + 1;
            else high = middle;
        }
    }
}
