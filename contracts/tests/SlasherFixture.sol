// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {BlsSignatures} from "../src/BlsSignatures.sol";
import {
    AtomicityEvidence,
    BrokenChainEvidence,
    ConstraintAnswer,
    EquivocationEvidence,
    MissedWindowEvidence,
    OmissionEvidence,
    PostSealEvidence
} from "../src/Evidence.sol";
import {Inbox} from "../src/Inbox.sol";
import {
    AllocationEntry,
    AuctionResult,
    BundleCommitment,
    Commitment,
    Constraint,
    ConstraintReceipt,
    ConstraintsMessage,
    Delegation,
    DelegationReceipt,
    G1Point,
    G2Point,
    InclusionPayload,
    Leg,
    OrderingCommitment,
    RollupRegistration,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "../src/Objects.sol";
import {OrderingSlasher} from "../src/OrderingSlasher.sol";
import {Registry} from "../src/Registry.sol";
import {RollupRegistry} from "../src/RollupRegistry.sol";
import {Signing} from "../src/Signing.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";

/// The real contracts, an operator that opted in, and everything that it, its proposer and the relay sign.
abstract contract SlasherFixture is Test {
    bytes4 internal constant FORK = 0x20000089;
    uint64 internal constant GENESIS_MS = 1_700_000_000_000;
    uint64 internal constant SLOT_MS = 12_000;
    uint64 internal constant SLOT = 1_000_000;
    /// When the slot starts, seconds.
    uint256 internal constant START = GENESIS_MS / 1000 + uint256(SLOT) * SLOT_MS / 1000;
    /// When the last slot starts in which a record still counts.
    uint256 internal constant LAST = START + 64 * 12;
    uint64 internal constant ROLLUP = 4242;
    uint64 internal constant OTHER_ROLLUP = 4243;
    bytes32 internal constant ID = keccak256("earnest.v1");

    uint80 internal constant COLLATERAL = 100 ether;
    uint80 internal constant SAFETY = 16 ether;
    uint80 internal constant LIVENESS = 1 ether;
    uint80 internal constant BOND = 0.5 ether;
    uint32 internal constant ANSWER = 1 days;
    uint32 internal constant CONCLUDE = 2 days;
    uint32 internal constant EVIDENCE = 3 days;
    uint32 internal constant CUTOFF_MS = 4000;

    uint256 internal constant PROPOSER = uint256(keccak256("proposer")) >> 4;
    uint256 internal constant DELEGATE = uint256(keccak256("delegate")) >> 4;

    Registry internal registry;
    RollupRegistry internal rollups;
    Inbox internal inbox;
    OrderingSlasher internal slasher;

    address internal owner = makeAddr("owner");
    address internal revenue = makeAddr("revenue");
    address internal reserve;
    uint256 internal reserveKey;
    address internal committer;
    uint256 internal committerKey;
    address internal rival;
    uint256 internal rivalKey;
    address internal relay;
    uint256 internal relayKey;
    address internal accuser = makeAddr("accuser");
    address internal stranger = makeAddr("stranger");
    address internal answerer = makeAddr("answerer");
    bytes32 internal root;

    function setUp() public virtual {
        (committer, committerKey) = makeAddrAndKey("committer");
        (rival, rivalKey) = makeAddrAndKey("rival");
        (relay, relayKey) = makeAddrAndKey("relay");
        (reserve, reserveKey) = makeAddrAndKey("reserve");
        vm.warp(START - 30 days);
        registry = new Registry(registryConfig());
        rollups = new RollupRegistry(address(this), GENESIS_MS, SLOT_MS, 96);
        inbox = new Inbox(FORK);
        slasher = new OrderingSlasher(
            registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, config()
        );
        root = operator(PROPOSER, owner);
        rollup(ROLLUP, relay);
        rollup(OTHER_ROLLUP, relay);
        skip(1 days);
        vm.prank(owner);
        registry.optInToSlasher(root, address(slasher), committer);
        vm.deal(accuser, 1000 ether);
        vm.warp(START + 1 hours);
    }

    function registryConfig() internal view returns (IRegistry.Config memory) {
        return IRegistry.Config({
            minCollateralWei: 2 * SAFETY,
            fraudProofWindow: 1 days,
            unregistrationDelay: 7 days,
            slashWindow: 7 days,
            optInDelay: 7 days,
            signingDomain: Signing.domain(FORK),
            chainId: Signing.littleEndian(block.chainid)
        });
    }

    function config() internal pure returns (IOrderingSlasher.Config memory) {
        return IOrderingSlasher.Config({
            safetyWei: SAFETY,
            livenessWei: LIVENESS,
            bondWei: BOND,
            answerSeconds: ANSWER,
            concludeSeconds: CONCLUDE,
            evidenceSeconds: EVIDENCE,
            constraintCutoffMs: CUTOFF_MS
        });
    }

    // ---- Operators and rollups.

    function registrations(uint256 secret)
        internal
        view
        returns (IRegistry.SignedRegistration[] memory regs)
    {
        regs = new IRegistry.SignedRegistration[](1);
        regs[0].pubkey = publicKey(secret);
    }

    function operator(uint256 secret, address owner_) internal returns (bytes32) {
        vm.deal(address(this), COLLATERAL);
        return registry.register{value: COLLATERAL}(registrations(secret), owner_, ID);
    }

    function proofOf(uint256 secret, address owner_)
        internal
        view
        returns (IRegistry.RegistrationProof memory)
    {
        return registry.getRegistrationProof(registrations(secret), owner_, 0, ID);
    }

    function proof() internal view returns (IRegistry.RegistrationProof memory) {
        return proofOf(PROPOSER, owner);
    }

    function rollup(uint64 id, address relay_) internal {
        if (rollups.ownerOf(id) == address(0)) rollups.grant(id, address(this));
        rollups.update(
            RollupRegistration({
                rollupId: id,
                reserveWei: 0,
                reserveCommitter: reserve,
                revenueRecipient: revenue,
                inclusionShareBps: 1000,
                maxBatchBytes: 120 * 1024,
                maxTxGas: 30_000_000,
                policy: 0,
                requiredLevel: 1,
                opaque: false,
                active: true,
                relay: relay_,
                uri: ""
            })
        );
    }

    function collateral() internal view returns (uint256) {
        return registry.getOperatorData(root).collateralWei;
    }

    function slash(SignedCommitment memory judged, bytes memory evidence) internal returns (uint256) {
        vm.prank(stranger);
        return registry.slashCommitment(root, judged, evidence);
    }

    /// The slash is refused, and nothing is taken.
    function innocent(SignedCommitment memory judged, bytes memory evidence, bytes memory why) internal {
        vm.expectRevert(why);
        vm.prank(stranger);
        registry.slashCommitment(root, judged, evidence);
        assertEq(collateral(), COLLATERAL);
    }

    function innocent(SignedCommitment memory judged, bytes memory evidence, bytes4 why) internal {
        innocent(judged, evidence, abi.encodePacked(why));
    }

    function guilty(SignedCommitment memory judged, bytes memory evidence) internal {
        uint256 before = collateral();
        assertEq(slash(judged, evidence), SAFETY);
        assertEq(collateral(), before - SAFETY);
    }

    // ---- What the committer signs.

    function sign(Commitment memory message, uint256 key) internal view returns (SignedCommitment memory) {
        return sign(message, key, ID, 0);
    }

    function sign(Commitment memory message, uint256 key, bytes32 signingId, uint64 nonce)
        internal
        view
        returns (SignedCommitment memory)
    {
        bytes32 object = keccak256(abi.encode(uint256(3), message));
        return SignedCommitment(message, nonce, signingId, ecdsa(object, signingId, nonce, key));
    }

    function ecdsa(bytes32 object, bytes32 signingId, uint64 nonce, uint256 key)
        internal
        view
        returns (bytes memory)
    {
        bytes32 toSign = Signing.signingRoot(object, signingId, nonce, block.chainid, Signing.domain(FORK));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, toSign);
        return abi.encodePacked(r, s, v);
    }

    function commitmentOf(bytes memory payload, uint64 kind) internal view returns (Commitment memory) {
        return Commitment(kind, payload, 0, address(slasher));
    }

    function sign(OrderingCommitment memory message) internal view returns (SignedCommitment memory) {
        return sign(commitmentOf(abi.encode(message), 0x11), committerKey);
    }

    function sign(BundleCommitment memory message) internal view returns (SignedCommitment memory) {
        return sign(commitmentOf(abi.encode(message), 0x12), committerKey);
    }

    /// A microblock of `txHashes` from `firstIndex` on.
    function microblock(uint32 number, uint32 firstIndex, bytes32[] memory txHashes)
        internal
        pure
        returns (OrderingCommitment memory)
    {
        return OrderingCommitment({
            rollupId: ROLLUP,
            slot: SLOT,
            segment: 0,
            number: number,
            parent: number == 0 ? bytes32(0) : keccak256("parent"),
            firstIndex: firstIndex,
            txCount: uint32(txHashes.length),
            txRoot: merkleRoot(leaves(firstIndex, txHashes)),
            timestampMs: GENESIS_MS + SLOT * SLOT_MS - 5000,
            forcedInclusionHead: 0,
            kind: 0
        });
    }

    function microblock() internal pure returns (OrderingCommitment memory) {
        return microblock(3, 5, hashes(0, 4));
    }

    function sealOf(uint32 number, bytes32[] memory txHashes, uint8 kind)
        internal
        pure
        returns (OrderingCommitment memory ordering)
    {
        ordering = microblock(number, 0, txHashes);
        ordering.firstIndex = uint32(txHashes.length);
        ordering.txCount = 0;
        ordering.kind = kind;
    }

    function bundle(uint256 count) internal pure returns (BundleCommitment memory message) {
        message.bundleHash = keccak256("bundle");
        message.legs = new Leg[](count);
        for (uint256 i = 0; i < count; ++i) {
            message.legs[i] = Leg(ROLLUP, SLOT, uint16(i), uint32(6 + i), keccak256(abi.encode("leg", i)));
        }
    }

    // ---- Evidence.

    function evidenceOf(uint8 fault, bytes memory detail) internal pure returns (bytes memory) {
        return abi.encode(fault, detail);
    }

    function equivocation(SignedCommitment memory other) internal pure returns (bytes memory) {
        return evidenceOf(1, abi.encode(EquivocationEvidence(other)));
    }

    function brokenChain() internal pure returns (bytes memory) {
        return evidenceOf(2, abi.encode(BrokenChainEvidence(new SignedCommitment[](0))));
    }

    function brokenChain(SignedCommitment memory previous) internal pure returns (bytes memory) {
        SignedCommitment[] memory one = new SignedCommitment[](1);
        one[0] = previous;
        return evidenceOf(2, abi.encode(BrokenChainEvidence(one)));
    }

    function postSeal(SignedCommitment memory sealing) internal pure returns (bytes memory) {
        return evidenceOf(3, abi.encode(PostSealEvidence(sealing)));
    }

    function omission(OmissionEvidence memory detail) internal pure returns (bytes memory) {
        return evidenceOf(4, abi.encode(detail));
    }

    function atomicity(AtomicityEvidence memory detail) internal pure returns (bytes memory) {
        return evidenceOf(5, abi.encode(detail));
    }

    function missedWindow(uint16 leg) internal pure returns (bytes memory) {
        return evidenceOf(6, abi.encode(MissedWindowEvidence(leg)));
    }

    function unauthorized() internal pure returns (bytes memory) {
        return evidenceOf(8, "");
    }

    function misallocation() internal pure returns (bytes memory) {
        return evidenceOf(10, "");
    }

    // ---- The tree of design §4, row by row.

    function hashes(uint256 from, uint256 count) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            list[i] = keccak256(abi.encode("transaction", from + i));
        }
    }

    function leaves(uint256 firstIndex, bytes32[] memory txHashes)
        internal
        pure
        returns (bytes32[] memory row)
    {
        row = new bytes32[](txHashes.length);
        for (uint256 i = 0; i < row.length; ++i) {
            row[i] = keccak256(abi.encodePacked(uint8(0), uint64(firstIndex + i), txHashes[i]));
        }
    }

    function merkleRoot(bytes32[] memory row) internal pure returns (bytes32 top) {
        (top,) = merkle(row, 0);
    }

    function merkle(bytes32[] memory row, uint256 position)
        internal
        pure
        returns (bytes32 top, bytes32[] memory path)
    {
        if (row.length == 0) return (0, path);
        uint256 width = 1;
        uint256 depth = 0;
        for (; width < row.length; width *= 2) {
            ++depth;
        }
        bytes32[] memory nodes = new bytes32[](width);
        for (uint256 i = 0; i < row.length; ++i) {
            nodes[i] = row[i];
        }
        path = new bytes32[](depth);
        for (uint256 level = 0; level < depth; ++level) {
            path[level] = nodes[position ^ 1];
            width /= 2;
            position /= 2;
            for (uint256 i = 0; i < width; ++i) {
                nodes[i] = keccak256(abi.encodePacked(uint8(1), nodes[2 * i], nodes[2 * i + 1]));
            }
        }
        top = nodes[0];
    }

    function pathOf(uint256 firstIndex, bytes32[] memory txHashes, uint256 index)
        internal
        pure
        returns (bytes32[] memory path)
    {
        (, path) = merkle(leaves(firstIndex, txHashes), index - firstIndex);
    }

    // ---- BLS.

    function publicKey(uint256 secret) internal view returns (G1Point memory key) {
        bytes memory generator = abi.encode(
            bytes32(0x0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0f),
            bytes32(0xc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb),
            bytes32(0x0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4),
            bytes32(0xfcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1)
        );
        (bool ok, bytes memory point) = address(0x0c).staticcall(abi.encodePacked(generator, secret));
        assertTrue(ok);
        return abi.decode(point, (G1Point));
    }

    function blsSign(bytes32 toSign, uint256 secret) internal view returns (G2Point memory) {
        BLS.G2Point memory hashed = BlsSignatures.hashToG2(toSign);
        (bool ok, bytes memory point) = address(0x0e).staticcall(abi.encodePacked(abi.encode(hashed), secret));
        assertTrue(ok);
        return abi.decode(point, (G2Point));
    }

    // ---- The proposer's and the relay's.

    function entry(uint64 rollupId, address committer_) internal view returns (AllocationEntry memory) {
        return AllocationEntry({
            rollupId: rollupId,
            bidHash: keccak256("bid"),
            account: owner,
            committer: committer_,
            delegate: new bytes(48),
            priceWei: 1 ether,
            url: "https://gateway.example"
        });
    }

    function allocation() internal view returns (SlotAllocation memory message) {
        message.slot = SLOT;
        message.startMs = GENESIS_MS + SLOT * SLOT_MS - 30_000;
        message.auctionRoot = keccak256("auction");
        message.entries = new AllocationEntry[](2);
        message.entries[0] = entry(ROLLUP, committer);
        message.entries[1] = entry(OTHER_ROLLUP, rival);
    }

    function delegationOf(bytes memory metadata) internal view returns (Delegation memory) {
        return Delegation(publicKey(PROPOSER), publicKey(DELEGATE), committer, SLOT, metadata);
    }

    function delegation(SlotAllocation memory message) internal view returns (SignedDelegation memory) {
        return sign(delegationOf(abi.encode(uint8(1), message)), PROPOSER);
    }

    function sign(Delegation memory message, uint256 secret) internal view returns (SignedDelegation memory) {
        bytes32 object = keccak256(abi.encode(uint256(2), message));
        bytes32 toSign = Signing.signingRoot(object, ID, 0, block.chainid, Signing.domain(FORK));
        return SignedDelegation(message, 0, ID, blsSign(toSign, secret));
    }

    function receiptOf(SignedDelegation memory signed, uint64 receivedAtMs)
        internal
        view
        returns (SignedDelegationReceipt memory)
    {
        bytes32 hash = keccak256(abi.encode(signed.delegation));
        return sign(DelegationReceipt(signed.delegation.slot, hash, receivedAtMs), relayKey);
    }

    function sign(DelegationReceipt memory receipt, uint256 key)
        internal
        view
        returns (SignedDelegationReceipt memory)
    {
        bytes32 object = keccak256(abi.encode(uint256(0x103), receipt));
        return SignedDelegationReceipt(receipt, 0, ID, ecdsa(object, ID, 0, key));
    }

    function sign(AuctionResult memory result, uint256 key)
        internal
        view
        returns (SignedAuctionResult memory)
    {
        bytes32 object = keccak256(abi.encode(uint256(0x102), result));
        return SignedAuctionResult(result, 0, ID, ecdsa(object, ID, 0, key));
    }

    function resultOf(SlotAllocation memory message) internal pure returns (AuctionResult memory) {
        bytes32[] memory winners = new bytes32[](1);
        winners[0] = keccak256("bid");
        return AuctionResult(
            message.slot,
            message.auctionRoot,
            winners,
            keccak256(abi.encode(message)),
            message.startMs - 10_000
        );
    }

    function sign(ConstraintReceipt memory receipt, uint256 key)
        internal
        view
        returns (SignedConstraintReceipt memory)
    {
        bytes32 object = keccak256(abi.encode(uint256(0x104), receipt));
        return SignedConstraintReceipt(receipt, 0, ID, ecdsa(object, ID, 0, key));
    }

    // ---- Batches on their way.

    function transactions(uint256 count, uint256 size) internal pure returns (bytes[] memory txs) {
        txs = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            txs[i] = new bytes(size);
            for (uint256 offset = 0; offset < size; ++offset) {
                txs[i][offset] = bytes1(uint8(1 + (i + offset) % 255));
            }
        }
    }

    function hashesOf(bytes[] memory txs) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](txs.length);
        for (uint256 i = 0; i < txs.length; ++i) {
            list[i] = keccak256(txs[i]);
        }
    }

    function batch(bytes[] memory txs, uint16 segment, uint8 kind)
        internal
        view
        returns (bytes memory input)
    {
        OrderingCommitment memory sealing = sealOf(7, hashesOf(txs), kind);
        sealing.segment = segment;
        return abi.encodeCall(Inbox.submit, (txs, sign(sealing), ""));
    }

    /// What an EIP-1559 transaction says, as far as it matters here.
    struct L1 {
        uint256 chainId;
        uint256 gasLimit;
        address to;
        uint256 value;
        bytes input;
        bytes accessList;
    }

    function l1(bytes memory input) internal view returns (L1 memory) {
        return L1(block.chainid, 300_000 + 80 * input.length, address(inbox), 0, input, hex"c0");
    }

    function rlpList(bytes[] memory items) internal pure returns (bytes memory) {
        return RLP.encode(items);
    }

    function fields(L1 memory message) internal pure returns (bytes[] memory items) {
        items = new bytes[](12);
        items[0] = RLP.encode(message.chainId);
        items[1] = RLP.encode(uint256(17));
        items[2] = RLP.encode(uint256(1 gwei));
        items[3] = RLP.encode(uint256(30 gwei));
        items[4] = RLP.encode(message.gasLimit);
        items[5] = RLP.encode(message.to);
        items[6] = RLP.encode(message.value);
        items[7] = RLP.encode(message.input);
        items[8] = message.accessList;
        items[9] = RLP.encode(uint256(1));
        items[10] = RLP.encode(uint256(keccak256("r")));
        items[11] = RLP.encode(uint256(keccak256("s")));
    }

    function encode(L1 memory message) internal pure returns (bytes memory) {
        return abi.encodePacked(hex"02", rlpList(fields(message)));
    }

    function messageOf(bytes memory signedTx) internal view returns (ConstraintsMessage memory message) {
        message.proposer = publicKey(PROPOSER);
        message.delegate = publicKey(DELEGATE);
        message.slot = SLOT;
        message.constraints = new Constraint[](1);
        message.constraints[0] = Constraint(1, abi.encode(InclusionPayload(SLOT, signedTx)));
        message.receivers = new G1Point[](0);
    }

    /// An answer whose receipt is of the message as it stands.
    function answerOf(ConstraintsMessage memory message, uint8 status, uint64 receivedAtMs)
        internal
        view
        returns (ConstraintAnswer memory)
    {
        bytes32 hash = keccak256(abi.encode(message));
        ConstraintReceipt memory receipt = ConstraintReceipt(SLOT, hash, receivedAtMs, status);
        return ConstraintAnswer(message, 0, sign(receipt, relayKey));
    }

    function answerOf(bytes memory signedTx) internal view returns (ConstraintAnswer memory) {
        return answerOf(messageOf(signedTx), 0, uint64(START * 1000 - CUTOFF_MS - 1));
    }

    function goodAnswer() internal view returns (ConstraintAnswer memory) {
        return answerOf(encode(l1(batch(transactions(3, 120), 0, 2))));
    }

    // ---- Accusing.

    function accuse(SignedCommitment memory judged, bytes memory evidence) internal returns (bytes32) {
        vm.prank(accuser);
        return slasher.accuse{value: BOND}(root, judged, evidence);
    }

    function accuseMissed() internal returns (bytes32) {
        return accuse(sign(microblock()), missedWindow(0));
    }

    function statusOf(bytes32 id) internal view returns (IOrderingSlasher.Status) {
        return slasher.getAccusation(id).status;
    }
}
