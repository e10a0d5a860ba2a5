// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Inbox} from "../src/Inbox.sol";
import {
    AuctionResult,
    BidAck,
    BundleCommitment,
    Commitment,
    ConstraintReceipt,
    ConstraintsMessage,
    Delegation,
    DelegationReceipt,
    InclusionPayload,
    OrderingBid,
    OrderingCommitment,
    Registration,
    RollupRegistration,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "../src/Objects.sol";
import {OrderingMerkle} from "../src/OrderingMerkle.sol";
import {Signing} from "../src/Signing.sol";

/// What the Rust side made (`contracts/bindings/tests/schema`), asserted here: same bytes, hashes, roots, signers.
contract SchemaTest is Test {
    uint256 private _seen;

    /// `encoded` decoded as the named struct and encoded anew, in the two forms in which it is hashed.
    function _again(string memory name, uint256 messageType, bytes memory encoded)
        private
        pure
        returns (bytes memory typed, bytes memory bare)
    {
        bytes32 id = keccak256(bytes(name));
        if (id == keccak256("Registration")) {
            Registration memory object = abi.decode(encoded, (Registration));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("Delegation")) {
            Delegation memory object = abi.decode(encoded, (Delegation));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("Commitment")) {
            Commitment memory object = abi.decode(encoded, (Commitment));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("ConstraintsMessage")) {
            ConstraintsMessage memory object = abi.decode(encoded, (ConstraintsMessage));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("BidAck")) {
            BidAck memory object = abi.decode(encoded, (BidAck));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("AuctionResult")) {
            AuctionResult memory object = abi.decode(encoded, (AuctionResult));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("DelegationReceipt")) {
            DelegationReceipt memory object = abi.decode(encoded, (DelegationReceipt));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("ConstraintReceipt")) {
            ConstraintReceipt memory object = abi.decode(encoded, (ConstraintReceipt));
            return (abi.encode(messageType, object), abi.encode(object));
        }
        if (id == keccak256("OrderingCommitment")) {
            return ("", abi.encode(abi.decode(encoded, (OrderingCommitment))));
        }
        if (id == keccak256("BundleCommitment")) {
            return ("", abi.encode(abi.decode(encoded, (BundleCommitment))));
        }
        if (id == keccak256("InclusionPayload")) {
            return ("", abi.encode(abi.decode(encoded, (InclusionPayload))));
        }
        if (id == keccak256("SlotAllocation")) {
            return ("", abi.encode(abi.decode(encoded, (SlotAllocation))));
        }
        if (id == keccak256("OrderingBid")) {
            return ("", abi.encode(abi.decode(encoded, (OrderingBid))));
        }
        if (id == keccak256("RollupRegistration")) {
            return ("", abi.encode(abi.decode(encoded, (RollupRegistration))));
        }
        if (id == keccak256("Metadata")) {
            (uint8 version, SlotAllocation memory allocation) = abi.decode(encoded, (uint8, SlotAllocation));
            return ("", abi.encode(version, allocation));
        }
        if (id == keccak256("Authority")) {
            (SignedDelegation memory delegation, SignedDelegationReceipt memory receipt) =
                abi.decode(encoded, (SignedDelegation, SignedDelegationReceipt));
            return ("", abi.encode(delegation, receipt));
        }
        revert(string.concat("no such object: ", name));
    }

    /// The struct alone, out of `abi.encode(uint256 messageType, Struct)`.
    function _bare(bytes memory typed, bool dynamic) private pure returns (bytes memory bare) {
        bare = new bytes(typed.length - 32);
        for (uint256 i = 0; i < bare.length; ++i) {
            bare[i] = typed[i + 32];
        }
        // A dynamic struct keeps its offset, one word shorter.
        if (dynamic) bare[31] = 0x20;
    }

    function _vectors(string memory name) private view returns (string memory) {
        return vm.readFile(string.concat("../tests/vectors/schema/", name));
    }

    function _isDynamic(string memory name) private pure returns (bool) {
        bytes32 id = keccak256(bytes(name));
        return id == keccak256("Delegation") || id == keccak256("Commitment")
            || id == keccak256("ConstraintsMessage") || id == keccak256("AuctionResult");
    }

    function recover(bytes32 root, bytes calldata signature) external pure returns (address) {
        return Signing.recover(root, signature);
    }

    function commitmentRoot(Commitment calldata commitment) external pure returns (bytes32) {
        return Signing.commitmentRoot(commitment);
    }

    function delegationRoot(Delegation calldata delegation) external pure returns (bytes32) {
        return Signing.delegationRoot(delegation);
    }

    function auctionResultRoot(AuctionResult calldata result) external pure returns (bytes32) {
        return Signing.auctionResultRoot(result);
    }

    function delegationReceiptRoot(DelegationReceipt calldata receipt) external pure returns (bytes32) {
        return Signing.delegationReceiptRoot(receipt);
    }

    function constraintReceiptRoot(ConstraintReceipt calldata receipt) external pure returns (bytes32) {
        return Signing.constraintReceiptRoot(receipt);
    }

    /// The object root as the library forms it; as `given` for the types whose root no contract forms.
    function _rootOf(uint256 messageType, bytes memory bare, bytes32 given) private view returns (bytes32) {
        if (messageType == Signing.REGISTRATION) {
            return Signing.registrationRoot(abi.decode(bare, (Registration)).owner);
        }
        if (messageType == Signing.DELEGATION) return this.delegationRoot(abi.decode(bare, (Delegation)));
        if (messageType == Signing.COMMITMENT) return this.commitmentRoot(abi.decode(bare, (Commitment)));
        if (messageType == Signing.AUCTION_RESULT) {
            return this.auctionResultRoot(abi.decode(bare, (AuctionResult)));
        }
        if (messageType == Signing.DELEGATION_RECEIPT) {
            return this.delegationReceiptRoot(abi.decode(bare, (DelegationReceipt)));
        }
        if (messageType == Signing.CONSTRAINT_RECEIPT) {
            return this.constraintReceiptRoot(abi.decode(bare, (ConstraintReceipt)));
        }
        assertTrue(messageType == Signing.CONSTRAINTS || messageType == Signing.BID_ACK);
        return given;
    }

    function test_signedObjects() public {
        string memory json = _vectors("signed.json");
        for (uint256 i = 0;; ++i) {
            string memory object = string.concat(".objects[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, object)) break;
            _signedObject(json, object);
        }
        assertEq(_seen, 26);
    }

    function _signedObject(string memory json, string memory object) private {
        string memory name = vm.parseJsonString(json, string.concat(object, ".name"));
        uint256 messageType = vm.parseJsonUint(json, string.concat(object, ".messageType"));
        bytes memory encoded = vm.parseJsonBytes(json, string.concat(object, ".encoded"));
        bytes memory bare = _bare(encoded, _isDynamic(name));
        (bytes memory typed, bytes memory bareAgain) = _again(name, messageType, bare);
        assertEq(typed, encoded, name);
        assertEq(bareAgain, bare, name);

        bytes32 objectRoot = _root(json, object, ".objectRoot");
        assertEq(keccak256(typed), objectRoot, name);
        assertEq(_rootOf(messageType, bare, objectRoot), objectRoot, name);
        _signature(json, object, objectRoot);
        ++_seen;
    }

    function _root(string memory json, string memory object, string memory key)
        private
        pure
        returns (bytes32)
    {
        return vm.parseJsonBytes32(json, string.concat(object, key));
    }

    function _signature(string memory json, string memory object, bytes32 objectRoot) private view {
        bytes32 signingId = _root(json, object, ".signingId");
        uint64 nonce = uint64(vm.parseJsonUint(json, string.concat(object, ".nonce")));
        uint256 chainId = vm.parseJsonUint(json, string.concat(object, ".chainId"));
        bytes32 info = Signing.infoRoot(objectRoot, signingId, nonce, chainId);
        assertEq(info, _root(json, object, ".infoRoot"));

        bytes4 version = bytes4(vm.parseJsonBytes(json, string.concat(object, ".genesisForkVersion")));
        bytes32 domain = Signing.domain(version);
        assertEq(domain, _root(json, object, ".domain"));
        bytes32 root = Signing.signingRoot(objectRoot, signingId, nonce, chainId, domain);
        assertEq(root, _root(json, object, ".signingRoot"));

        string memory signer = string.concat(object, ".signer");
        if (vm.keyExistsJson(json, signer)) {
            bytes memory signature = vm.parseJsonBytes(json, string.concat(object, ".signature"));
            assertEq(this.recover(root, signature), vm.parseJsonAddress(json, signer));
        }
    }

    function test_encodedObjects() public {
        string memory json = _vectors("encoded.json");
        for (uint256 i = 0;; ++i) {
            string memory object = string.concat(".objects[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, object)) break;
            string memory name = vm.parseJsonString(json, string.concat(object, ".name"));
            bytes memory encoded = vm.parseJsonBytes(json, string.concat(object, ".encoded"));
            (, bytes memory again) = _again(name, 0, encoded);
            assertEq(again, encoded, name);
            assertEq(keccak256(again), vm.parseJsonBytes32(json, string.concat(object, ".hash")), name);
            ++_seen;
        }
        assertEq(_seen, 12);
    }

    /// Fields land where they should, not only in an order that both sides might have wrong alike.
    function test_anOrderingsFields() public view {
        string memory json = _vectors("encoded.json");
        bytes memory encoded = vm.parseJsonBytes(json, ".objects[0].encoded");
        OrderingCommitment memory ordering = abi.decode(encoded, (OrderingCommitment));
        assertEq(ordering.rollupId, 4242);
        assertEq(ordering.slot, 9_000_001);
        assertEq(ordering.segment, 2);
        assertEq(ordering.number, 5);
        assertEq(ordering.parent, keccak256("parent"));
        assertEq(ordering.firstIndex, 17);
        assertEq(ordering.txCount, 3);
        assertEq(ordering.txRoot, keccak256("root"));
        assertEq(ordering.timestampMs, 1_764_000_000_123);
        assertEq(ordering.forcedInclusionHead, 6);
        assertEq(ordering.kind, 0);
    }

    function verify(bytes32 leafHash, uint256 position, bytes32[] calldata path, bytes32 expected)
        external
        pure
        returns (bool)
    {
        return OrderingMerkle.verify(leafHash, position, path, expected);
    }

    function test_merkleTrees() public {
        string memory json = _vectors("merkle.json");
        for (uint256 i = 0;; ++i) {
            string memory tree = string.concat(".trees[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, tree)) break;
            _tree(json, tree);
            ++_seen;
        }
        assertEq(_seen, 13);
    }

    function _tree(string memory json, string memory tree) private view {
        uint256 first = vm.parseJsonUint(json, string.concat(tree, ".firstIndex"));
        bytes32[] memory hashes = vm.parseJsonBytes32Array(json, string.concat(tree, ".hashes"));
        bytes32[] memory leaves = vm.parseJsonBytes32Array(json, string.concat(tree, ".leaves"));
        bytes32 expected = vm.parseJsonBytes32(json, string.concat(tree, ".root"));
        assertEq(hashes.length, leaves.length);
        for (uint256 i = 0; i < hashes.length; ++i) {
            assertEq(OrderingMerkle.leaf(first + i, hashes[i]), leaves[i]);
        }
        for (uint256 i = 0;; ++i) {
            string memory path = string.concat(tree, ".paths[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, path)) break;
            uint256 position = vm.parseJsonUint(json, string.concat(path, ".position"));
            bytes32[] memory siblings = vm.parseJsonBytes32Array(json, string.concat(path, ".path"));
            assertTrue(this.verify(leaves[position], position, siblings, expected));
            assertFalse(this.verify(leaves[position], position + 1, siblings, expected));
        }
        assertEq(OrderingMerkle.root(leaves), expected);
    }

    function test_theInboxRecordsWhatAGatewaySubmits() public {
        string memory json = _vectors("submit.json");
        for (uint256 i = 0;; ++i) {
            string memory call = string.concat(".calls[", vm.toString(i), "]");
            if (!vm.keyExistsJson(json, call)) break;
            _submit(json, call);
            ++_seen;
        }
        assertEq(_seen, 3);
    }

    function _submit(string memory json, string memory call) private {
        vm.chainId(uint64(vm.parseJsonUint(json, string.concat(call, ".chainId"))));
        Inbox inbox = new Inbox(bytes4(vm.parseJsonBytes(json, string.concat(call, ".genesisForkVersion"))));
        uint64 rollup = uint64(vm.parseJsonUint(json, string.concat(call, ".rollupId")));
        uint64 slot = uint64(vm.parseJsonUint(json, string.concat(call, ".slot")));
        uint16 segment = uint16(vm.parseJsonUint(json, string.concat(call, ".segment")));
        address committer = vm.parseJsonAddress(json, string.concat(call, ".committer"));
        if (vm.parseJsonBool(json, string.concat(call, ".authority"))) {
            vm.expectEmit();
            emit Inbox.AuthorityPosted(rollup, slot, committer);
        }
        address poster = makeAddr("poster");
        vm.prank(poster, poster);
        (bool taken,) = address(inbox).call(vm.parseJsonBytes(json, string.concat(call, ".calldata")));
        assertTrue(taken);
        Inbox.Record memory stored = inbox.record(rollup, slot, segment, committer);
        assertEq(stored.txRoot, vm.parseJsonBytes32(json, string.concat(call, ".txRoot")));
        assertEq(stored.count, vm.parseJsonUint(json, string.concat(call, ".count")));
        assertEq(stored.kind, vm.parseJsonUint(json, string.concat(call, ".kind")));
        assertEq(stored.time, block.timestamp);
    }
}
