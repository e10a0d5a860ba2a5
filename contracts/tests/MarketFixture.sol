// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Inbox} from "../src/Inbox.sol";
import {
    AllocationEntry,
    Commitment,
    Delegation,
    DelegationReceipt,
    OrderingBid,
    OrderingCommitment,
    RollupRegistration,
    SignedCommitment,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "../src/Objects.sol";
import {OrderingMarket} from "../src/OrderingMarket.sol";
import {Registry} from "../src/Registry.sol";
import {RollupRegistry} from "../src/RollupRegistry.sol";
import {Signing} from "../src/Signing.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRollupRegistry} from "../src/interfaces/IRollupRegistry.sol";
import {BlsSigner} from "./BlsSigner.sol";

/// A market among the real Registry, RollupRegistry and Inbox: one bidder, one relay, one proposer, four rollups.
abstract contract MarketFixture is Test {
    bytes4 internal constant FORK = 0x20000089;
    bytes32 internal constant ID = keccak256("earnest.v1");
    uint64 internal constant GENESIS_MS = 1_764_000_000_000;
    uint64 internal constant SLOT_MS = 12_000;
    uint32 internal constant HORIZON = 3 days;
    uint32 internal constant DELAY = 4 days;
    uint64 internal constant SLOT = 1000;
    /// When that slot starts, seconds.
    uint256 internal constant AT = 1_764_000_000 + 12_000;
    uint64 internal constant START_MS = (1_764_000_000 + 12_000 - 60) * 1000;
    uint256 internal constant PROPOSER = 0x1111;
    uint256 internal constant OTHER_PROPOSER = 0x2222;
    uint64 internal constant ROLLUP = 4242;
    uint16 internal constant SHARE = 2500;
    uint256 internal constant RESERVE = 77;

    IRegistry internal registry;
    RollupRegistry internal rollups;
    Inbox internal inbox;
    OrderingMarket internal market;

    address internal account;
    uint256 internal accountKey;
    address internal relay;
    uint256 internal relayKey;
    address internal committer;
    uint256 internal committerKey;
    address internal stranger;
    uint256 internal strangerKey;
    /// Who is paid the revenue of ROLLUP + i.
    address[4] internal recipients;
    /// Owner of the operator that the proposer's key registered for.
    address internal operatorOwner = makeAddr("operator's owner");

    function setUp() public virtual {
        (account, accountKey) = makeAddrAndKey("account");
        (relay, relayKey) = makeAddrAndKey("relay");
        (committer, committerKey) = makeAddrAndKey("committer");
        (stranger, strangerKey) = makeAddrAndKey("stranger");
        vm.warp(GENESIS_MS / 1000);
        registry = new Registry(
            IRegistry.Config({
                minCollateralWei: 1 ether,
                fraudProofWindow: 1 days,
                unregistrationDelay: 7 days,
                slashWindow: 7 days,
                optInDelay: 7 days,
                signingDomain: Signing.domain(FORK),
                chainId: Signing.littleEndian(block.chainid)
            })
        );
        rollups = new RollupRegistry(address(this), GENESIS_MS, SLOT_MS, 96);
        inbox = new Inbox(FORK);
        market = new OrderingMarket(
            registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, HORIZON, DELAY
        );
        for (uint64 i = 0; i < 4; ++i) {
            recipients[i] = makeAddr(string.concat("recipient ", vm.toString(i)));
            rollups.grant(ROLLUP + i, address(this));
            setTerms(ROLLUP + i, recipients[i], SHARE);
        }
        vm.warp(AT + 1);
    }

    // ---- The chain.

    function termsOf(uint64 rollupId, address recipient, uint16 share)
        internal
        view
        returns (RollupRegistration memory)
    {
        return RollupRegistration({
            rollupId: rollupId,
            reserveWei: RESERVE,
            reserveCommitter: address(0),
            revenueRecipient: recipient,
            inclusionShareBps: share,
            maxBatchBytes: 120 * 1024,
            maxTxGas: 30_000_000,
            policy: 0,
            requiredLevel: 0,
            opaque: false,
            active: true,
            relay: relay,
            uri: ""
        });
    }

    function setTerms(uint64 rollupId, address recipient, uint16 share) internal {
        rollups.update(termsOf(rollupId, recipient, share));
    }

    /// An operator of the one key, whose registration `signer` signed.
    function register(uint256 secret, uint256 signer, address owner)
        internal
        returns (IRegistry.RegistrationProof memory)
    {
        IRegistry.SignedRegistration[] memory regs = new IRegistry.SignedRegistration[](1);
        bytes32 root = toSign(keccak256(abi.encode(Signing.REGISTRATION, owner)));
        regs[0] = IRegistry.SignedRegistration(BlsSigner.key(secret), BlsSigner.sign(signer, root), 0);
        vm.deal(owner, 1 ether);
        vm.prank(owner, owner);
        registry.register{value: 1 ether}(regs, owner, ID);
        return registry.getRegistrationProof(regs, owner, 0, ID);
    }

    function deposit(uint256 amountWei) internal {
        vm.deal(address(this), amountWei);
        market.deposit{value: amountWei}(account, relay);
    }

    /// Posts an empty batch for a segment at `time`.
    function post(uint64 rollupId, uint64 slot, uint16 segment, uint8 kind, uint256 time) internal {
        uint256 now_ = block.timestamp;
        vm.warp(time);
        OrderingCommitment memory ordering;
        ordering.rollupId = rollupId;
        ordering.slot = slot;
        ordering.segment = segment;
        ordering.kind = kind;
        Commitment memory commitment = Commitment(0x11, abi.encode(ordering), 0, address(0));
        bytes32 root = toSign(keccak256(abi.encode(Signing.COMMITMENT, commitment)));
        inbox.submit(new bytes[](0), SignedCommitment(commitment, 0, ID, ecdsa(committerKey, root)), "");
        vm.warp(now_);
    }

    // ---- The market's messages.

    function toSign(bytes32 object) internal view returns (bytes32) {
        return Signing.signingRoot(object, ID, 0, block.chainid, Signing.domain(FORK));
    }

    function ecdsa(uint256 key, bytes32 root) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, root);
        return abi.encodePacked(r, s, v);
    }

    /// A bid for the first rollups, one for each price.
    function bidOf(uint256[] memory prices) internal view returns (OrderingBid memory bid) {
        bid.slot = SLOT;
        bid.rollupIds = new uint64[](prices.length);
        for (uint64 i = 0; i < prices.length; ++i) {
            bid.rollupIds[i] = ROLLUP + i;
            bid.amountWei += prices[i];
        }
        bid.account = account;
        bid.registrationRoot = keccak256("operator");
        bid.committer = committer;
        bid.relay = relay;
        bid.delegate = new bytes(48);
        bid.url = "https://gateway.example/";
        bid.nonce = 1;
        bid.expiry = uint64(AT);
    }

    function entriesOf(OrderingBid memory bid, uint256[] memory prices)
        internal
        view
        returns (AllocationEntry[] memory entries)
    {
        entries = new AllocationEntry[](prices.length);
        for (uint256 i = 0; i < prices.length; ++i) {
            entries[i] = AllocationEntry({
                rollupId: bid.rollupIds[i],
                bidHash: market.bidHash(bid),
                account: bid.account,
                committer: bid.committer,
                delegate: bid.delegate,
                priceWei: prices[i],
                url: bid.url
            });
        }
    }

    function delegationOf(AllocationEntry[] memory entries, uint64 slot, uint256 secret)
        internal
        view
        returns (SignedDelegation memory signed)
    {
        SlotAllocation memory allocation = SlotAllocation(slot, startOf(slot), keccak256("auction"), entries);
        signed.delegation = Delegation({
            proposer: BlsSigner.key(secret),
            delegate: BlsSigner.key(0x3333),
            committer: address(0xC0),
            slot: slot,
            metadata: abi.encode(uint8(1), allocation)
        });
        signed.signingId = ID;
        signed.signature =
            BlsSigner.sign(secret, toSign(keccak256(abi.encode(Signing.DELEGATION, signed.delegation))));
    }

    /// When the windows of a slot start, five slots before it.
    function startOf(uint64 slot) internal pure returns (uint64) {
        return GENESIS_MS + slot * SLOT_MS - 5 * SLOT_MS;
    }

    function receiptOf(SignedDelegation memory signed, uint64 receivedAtMs, uint256 key)
        internal
        view
        returns (SignedDelegationReceipt memory)
    {
        DelegationReceipt memory receipt = DelegationReceipt(
            signed.delegation.slot, keccak256(abi.encode(signed.delegation)), receivedAtMs
        );
        bytes32 root = toSign(keccak256(abi.encode(Signing.DELEGATION_RECEIPT, receipt)));
        return SignedDelegationReceipt(receipt, 0, ID, ecdsa(key, root));
    }

    /// The four arguments of `settle`.
    struct Won {
        OrderingBid bid;
        bytes signature;
        SignedDelegation delegation;
        SignedDelegationReceipt receipt;
    }

    function wonAt(uint64 slot, uint256 nonce, uint256[] memory prices)
        internal
        view
        returns (Won memory won)
    {
        won.bid = bidOf(prices);
        won.bid.slot = slot;
        won.bid.nonce = uint64(nonce);
        won.bid.expiry = type(uint64).max;
        won.signature = ecdsa(accountKey, market.bidHash(won.bid));
        won.delegation = delegationOf(entriesOf(won.bid, prices), slot, PROPOSER);
        won.receipt = receiptOf(won.delegation, startOf(slot) - 1, relayKey);
    }

    function won_(uint256[] memory prices) internal view returns (Won memory) {
        return wonAt(SLOT, 1, prices);
    }

    function settle(Won memory won) internal {
        market.settle(won.bid, won.signature, won.delegation, won.receipt);
    }

    function prices1(uint256 a) internal pure returns (uint256[] memory prices) {
        prices = new uint256[](1);
        prices[0] = a;
    }

    function prices2(uint256 a, uint256 b) internal pure returns (uint256[] memory prices) {
        prices = new uint256[](2);
        (prices[0], prices[1]) = (a, b);
    }

    function keyHash(uint256 secret) internal view returns (bytes32) {
        return keccak256(abi.encode(BlsSigner.key(secret)));
    }

    /// All that the market owes to those whom the fixture knows.
    function owed() internal view virtual returns (uint256 total) {
        total = market.escrow(account, relay) + market.proposerCredit(keyHash(PROPOSER))
            + market.proposerCredit(keyHash(OTHER_PROPOSER));
        for (uint256 i = 0; i < recipients.length; ++i) {
            total += market.credit(recipients[i]);
        }
    }
}

/// An account with code: does as it is told when it gets ether, and remembers how that went.
contract Purse {
    bool public refuses;
    address public target;
    bytes public data;
    bool public called;
    bytes public answer;

    function refuse(bool refuses_) external {
        refuses = refuses_;
    }

    function onReceive(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function act(address to, bytes calldata input) external payable {
        (bool success, bytes memory out) = to.call{value: msg.value}(input);
        if (success) return;
        assembly ("memory-safe") {
            revert(add(out, 0x20), mload(out))
        }
    }

    receive() external payable {
        require(!refuses);
        if (target != address(0)) (called, answer) = target.call(data);
    }
}
