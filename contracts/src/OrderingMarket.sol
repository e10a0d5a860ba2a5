// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {BitMaps} from "@openzeppelin/contracts/utils/structs/BitMaps.sol";
import {
    AllocationEntry,
    OrderingBid,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "./Objects.sol";
import {Signing} from "./Signing.sol";
import {SlotClock} from "./SlotClock.sol";
import {ValidDelegation} from "./ValidDelegation.sol";
import {IInbox} from "./interfaces/IInbox.sol";
import {IOrderingMarket} from "./interfaces/IOrderingMarket.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRollupRegistry} from "./interfaces/IRollupRegistry.sol";

/// @title Payment for ordering rights (design §2, §9)
/// @notice An account deposits for one relay. A bid that the slot's proposer delegated to, with the relay's receipt,
/// is charged to that deposit by whoever brings the proofs; what is earned waits for its owner to claim it. Nobody
/// has more say than another: no owner, no pause, no upgrade.
/// @dev Every wei received is in exactly one of `escrow`, `credit` and `proposerCredit` until it is paid out.
contract OrderingMarket is IOrderingMarket, ValidDelegation, SlotClock, EIP712, ReentrancyGuardTransient {
    using BitMaps for BitMaps.BitMap;

    /// @notice Most slots between a bid and its slot: two epochs are visible.
    uint256 public constant BID_AHEAD_SLOTS = 64;
    /// @notice Most batches of a window that are looked at to tell whether it was in time.
    uint16 public constant MAX_SEGMENTS = 64;

    bytes32 private constant BID_TYPEHASH = keccak256(
        "OrderingBid(uint64 slot,uint64[] rollupIds,uint256 amountWei,address account,bytes32 registrationRoot,"
        "address committer,address relay,bytes delegate,string url,bytes32 matches,uint64 nonce,uint64 expiry)"
    );
    /// @dev An auction closes no earlier than this before its windows start (design §2).
    uint256 private constant CLOSE_AHEAD_SLOTS = 4;
    uint256 private constant WHOLE_BPS = 10_000;
    uint8 private constant WINDOW_SEAL = 2;

    IRegistry public immutable REGISTRY;
    IRollupRegistry public immutable ROLLUP_REGISTRY;
    IInbox public immutable INBOX;
    /// @notice Domain of the receipts' signatures; the network's genesis fork version is in it.
    bytes32 public immutable SIGNING_DOMAIN;
    /// @notice How long after its slot a bid can be settled, seconds.
    uint256 public immutable HORIZON_SECONDS;
    /// @notice Time between asking for a withdrawal and taking it, seconds.
    uint256 public immutable WITHDRAWAL_DELAY_SECONDS;

    mapping(address account => mapping(address relay => uint256)) public escrow;
    mapping(address account => uint256) public credit;
    mapping(bytes32 proposerKeyHash => uint256) public proposerCredit;
    mapping(bytes32 registrationRoot => address) public relayOf;
    mapping(address account => mapping(address relay => Withdrawal)) private _withdrawals;
    mapping(uint64 rollupId => BitMaps.BitMap) private _settled;

    /// @param genesisForkVersion the consensus layer's fork version at genesis
    /// @param genesisMs when slot 0 starts, Unix milliseconds
    /// @param slotMs length of a slot, milliseconds
    /// @param horizonSeconds how long after its slot a bid can be settled
    /// @param withdrawalDelaySeconds so much more than the horizon that a deposit, once seen to cover a bid, covers it
    /// for as long as it can be settled
    constructor(
        IRegistry registry,
        IRollupRegistry rollupRegistry,
        IInbox inbox,
        bytes4 genesisForkVersion,
        uint64 genesisMs,
        uint64 slotMs,
        uint32 horizonSeconds,
        uint32 withdrawalDelaySeconds
    ) SlotClock(genesisMs, slotMs) EIP712("EarnestOrderingMarket", "1") {
        if (address(registry) == address(0) || address(rollupRegistry) == address(0)) revert BadConfig();
        if (address(inbox) == address(0) || horizonSeconds == 0) revert BadConfig();
        uint256 coveredMs = uint256(horizonSeconds) * 1000 + BID_AHEAD_SLOTS * slotMs;
        if (uint256(withdrawalDelaySeconds) * 1000 <= coveredMs) revert BadConfig();
        REGISTRY = registry;
        ROLLUP_REGISTRY = rollupRegistry;
        INBOX = inbox;
        SIGNING_DOMAIN = Signing.domain(genesisForkVersion);
        HORIZON_SECONDS = horizonSeconds;
        WITHDRAWAL_DELAY_SECONDS = withdrawalDelaySeconds;
    }

    // ---- The bidder's deposit.

    /// @notice Adds to what `account` can bid with at `relay`. Anyone may pay it in; only the account takes it out.
    function deposit(address account, address relay) external payable nonReentrant {
        if (msg.value == 0) revert ZeroAmount();
        if (account == address(0) || relay == address(0)) revert ZeroAddress();
        uint256 escrowWei = escrow[account][relay] + msg.value;
        escrow[account][relay] = escrowWei;
        emit Deposited(account, relay, msg.value, escrowWei);
    }

    /// @notice Asks for a withdrawal; zero takes the request back.
    /// @dev From now on a relay counts only what the request leaves. What it leaves, and what was covered before, can
    /// be charged until the withdrawal is taken.
    function requestWithdrawal(address relay, uint256 amountWei) external nonReentrant {
        uint256 escrowWei = escrow[msg.sender][relay];
        if (amountWei > escrowWei) revert EscrowTooLow(escrowWei);
        uint64 readyAt = amountWei == 0 ? 0 : uint64(block.timestamp + WITHDRAWAL_DELAY_SECONDS);
        // No more than the escrow, which is no more than all ether.
        // forge-lint: disable-next-line(unsafe-typecast)
        _withdrawals[msg.sender][relay] = Withdrawal(uint128(amountWei), readyAt);
        emit WithdrawalRequested(msg.sender, relay, amountWei, readyAt);
    }

    /// @notice Takes what was asked for, or what settled bids left of it.
    function withdraw(address relay) external nonReentrant {
        Withdrawal memory request = _withdrawals[msg.sender][relay];
        if (request.readyAt == 0) revert NotRequested();
        if (block.timestamp < request.readyAt) revert NotReady(request.readyAt);
        delete _withdrawals[msg.sender][relay];
        uint256 escrowWei = escrow[msg.sender][relay];
        uint256 amountWei = request.amountWei < escrowWei ? request.amountWei : escrowWei;
        escrow[msg.sender][relay] = escrowWei - amountWei;
        emit Withdrawn(msg.sender, relay, amountWei, escrowWei - amountWei);
        _pay(msg.sender, amountWei);
    }

    // ---- Settlement.

    /// @inheritdoc IOrderingMarket
    function settle(
        OrderingBid calldata bid,
        bytes calldata bidSignature,
        SignedDelegation calldata delegation,
        SignedDelegationReceipt calldata receipt
    ) external nonReentrant {
        _checkTime(bid.slot);
        // Before what costs much: those who settle race one another.
        for (uint256 i = 0; i < bid.rollupIds.length; ++i) {
            if (isSettled(bid.rollupIds[i], bid.slot)) revert AlreadySettled(bid.rollupIds[i], bid.slot);
        }
        bytes32 hash = bidHash(bid);
        address signer = Signing.recover(hash, bidSignature);
        if (signer == address(0) || signer != bid.account) revert BadBidSignature();

        (SlotAllocation memory allocation, string memory fault) =
            _validAllocation(REGISTRY, SIGNING_DOMAIN, bid.slot, bid.relay, delegation, receipt);
        if (bytes(fault).length != 0) revert InvalidDelegation(fault);
        // A window that does not start before its slot is none: nobody pays for it.
        if (allocation.startMs >= slotStartMs(bid.slot)) revert InvalidDelegation("start");
        if (uint256(bid.expiry) * 1000 + CLOSE_AHEAD_SLOTS * SLOT_MS < allocation.startMs) {
            revert BidExpired();
        }

        AllocationEntry[] memory rights = _rightsOf(bid, hash, allocation.entries);
        uint256 escrowWei = escrow[bid.account][bid.relay];
        if (bid.amountWei > escrowWei) revert EscrowTooLow(escrowWei);
        escrow[bid.account][bid.relay] = escrowWei - bid.amountWei;
        emit BidSettled(hash, bid.account, bid.relay, bid.slot, bid.amountWei);
        bytes32 proposerKeyHash = keccak256(abi.encode(delegation.delegation.proposer));
        for (uint256 i = 0; i < rights.length; ++i) {
            _settleRight(rights[i], bid.slot, bid.relay, proposerKeyHash);
        }
    }

    /// @dev Only when slot n has begun is it certain which batches were in time; a block at t(n) may still hold more.
    function _checkTime(uint64 slot) private view {
        uint256 startMs = slotStartMs(slot);
        uint256 untilMs = startMs + HORIZON_SECONDS * 1000;
        if (block.timestamp * 1000 <= startMs) revert TooEarly(startMs / 1000 + 1);
        if (block.timestamp * 1000 > untilMs) revert TooLate(untilMs / 1000);
    }

    /// @dev The entries that name the bid: all that it bid on, as it bid, for what it bid.
    function _rightsOf(OrderingBid calldata bid, bytes32 hash, AllocationEntry[] memory entries)
        private
        pure
        returns (AllocationEntry[] memory rights)
    {
        uint64[] calldata rollupIds = bid.rollupIds;
        for (uint256 i = 1; i < rollupIds.length; ++i) {
            if (rollupIds[i - 1] >= rollupIds[i]) revert NotAllocated("rollupIds");
        }
        rights = new AllocationEntry[](rollupIds.length);
        bytes32 delegateHash = keccak256(bid.delegate);
        bytes32 urlHash = keccak256(bytes(bid.url));
        uint256 count = 0;
        uint256 unpriced = bid.amountWei;
        for (uint256 i = 0; i < entries.length; ++i) {
            AllocationEntry memory entry = entries[i];
            if (entry.bidHash != hash) continue;
            if (!_contains(rollupIds, entry.rollupId)) revert NotAllocated("rollupIds");
            if (entry.account != bid.account) revert NotAllocated("account");
            if (entry.committer != bid.committer) revert NotAllocated("committer");
            if (keccak256(entry.delegate) != delegateHash) revert NotAllocated("delegate");
            if (keccak256(bytes(entry.url)) != urlHash) revert NotAllocated("url");
            if (entry.priceWei > unpriced) revert NotAllocated("amountWei");
            unpriced -= entry.priceWei;
            // No entry's rollup is another's, so there are no more of them than ids.
            rights[count++] = entry;
        }
        if (count == 0 || count != rollupIds.length) revert NotAllocated("rollupIds");
        if (unpriced != 0) revert NotAllocated("amountWei");
    }

    function _contains(uint64[] calldata ids, uint64 id) private pure returns (bool) {
        for (uint256 i = 0; i < ids.length; ++i) {
            if (ids[i] == id) return true;
        }
        return false;
    }

    function _settleRight(AllocationEntry memory right, uint64 slot, address relay, bytes32 proposerKeyHash)
        private
    {
        uint64 rollupId = right.rollupId;
        IRollupRegistry.Terms memory terms = ROLLUP_REGISTRY.termsAt(rollupId, slot);
        if (!terms.active) revert NotForSale(rollupId, "active");
        if (terms.relay != relay) revert NotForSale(rollupId, "relay");
        if (right.priceWei < terms.reserveWei) revert NotForSale(rollupId, "reserveWei");
        _settled[rollupId].set(slot);

        bool inTime = _isInTime(rollupId, slot, right.committer);
        uint256 proposerWei = inTime ? right.priceWei * terms.inclusionShareBps / WHOLE_BPS : 0;
        uint256 revenueWei = right.priceWei - proposerWei;
        if (proposerWei != 0) proposerCredit[proposerKeyHash] += proposerWei;
        if (revenueWei != 0) credit[terms.revenueRecipient] += revenueWei;
        emit RightSettled(
            rollupId,
            slot,
            right.bidHash,
            terms.revenueRecipient,
            revenueWei,
            proposerKeyHash,
            proposerWei,
            inTime
        );
    }

    /// @dev Whether all of the window's batches, the last one's seal being of kind 2, were on L1 by the slot.
    function _isInTime(uint64 rollupId, uint64 slot, address committer) private view returns (bool) {
        uint256 startMs = slotStartMs(slot);
        for (uint16 segment = 0; segment < MAX_SEGMENTS; ++segment) {
            IInbox.Record memory batch = INBOX.record(rollupId, slot, segment, committer);
            if (batch.time == 0 || uint256(batch.time) * 1000 > startMs) return false;
            if (batch.kind == WINDOW_SEAL) return true;
        }
        return false;
    }

    // ---- What was earned.

    /// @notice Pays the caller its credit.
    function claim() external nonReentrant {
        uint256 amountWei = credit[msg.sender];
        if (amountWei == 0) revert NothingToClaim();
        delete credit[msg.sender];
        emit Claimed(msg.sender, amountWei);
        _pay(msg.sender, amountWei);
    }

    /// @inheritdoc IOrderingMarket
    function claimProposerShare(IRegistry.RegistrationProof calldata proof) external nonReentrant {
        bytes32 proposerKeyHash = keccak256(abi.encode(proof.registration.pubkey));
        uint256 amountWei = proposerCredit[proposerKeyHash];
        if (amountWei == 0) revert NothingToClaim();
        // Registering takes no valid signature, only that nobody shows it to be forged; here the key itself must
        // have named the owner.
        if (!REGISTRY.verifyRegistration(proof)) revert InvalidProof();
        address owner = REGISTRY.getOperatorData(proof.registrationRoot).owner;
        delete proposerCredit[proposerKeyHash];
        emit ProposerClaimed(proposerKeyHash, owner, amountWei);
        _pay(owner, amountWei);
    }

    /// @notice Names the operator's market relay, zero none. Only its owner may.
    function nameRelay(bytes32 registrationRoot, address relay) external {
        if (REGISTRY.getOperatorData(registrationRoot).owner != msg.sender) revert NotOwner();
        relayOf[registrationRoot] = relay;
        emit RelayNamed(registrationRoot, relay);
    }

    function _pay(address to, uint256 amountWei) private {
        (bool paid,) = to.call{value: amountWei}("");
        if (!paid) revert EthTransferFailed();
    }

    // ---- Views.

    function withdrawal(address account, address relay) external view returns (Withdrawal memory) {
        return _withdrawals[account][relay];
    }

    function isSettled(uint64 rollupId, uint64 slot) public view returns (bool) {
        return _settled[rollupId].get(slot);
    }

    /// @notice The EIP-712 digest: what the account signs, and the bid's name in the allocation.
    function bidHash(OrderingBid calldata bid) public view returns (bytes32) {
        bytes32[13] memory words = [
            BID_TYPEHASH,
            bytes32(uint256(bid.slot)),
            keccak256(abi.encodePacked(bid.rollupIds)),
            bytes32(bid.amountWei),
            bytes32(uint256(uint160(bid.account))),
            bid.registrationRoot,
            bytes32(uint256(uint160(bid.committer))),
            bytes32(uint256(uint160(bid.relay))),
            keccak256(bid.delegate),
            keccak256(bytes(bid.url)),
            bid.matches,
            bytes32(uint256(bid.nonce)),
            bytes32(uint256(bid.expiry))
        ];
        return _hashTypedDataV4(keccak256(abi.encode(words)));
    }
}
