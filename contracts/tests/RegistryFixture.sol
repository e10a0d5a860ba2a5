// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {
    Commitment,
    Delegation,
    G1Point,
    G2Point,
    SignedCommitment,
    SignedDelegation
} from "../src/Objects.sol";
import {Registry} from "../src/Registry.sol";
import {Signing} from "../src/Signing.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IDelegationSlasher, ISlashBeneficiaries, ISlasher} from "../src/interfaces/ISlasher.sol";

/// A slasher that says what it is told, and calls whom it is told while it judges.
contract TestSlasher is ISlasher, IDelegationSlasher {
    error NoFault();

    enum Answer {
        Good,
        Reverts,
        TooShort,
        TooLong,
        NoAddress,
        NoOtherAddress,
        BurnsGas,
        Huge
    }

    uint256 public amountWei;
    address public rewarded;
    address public harmed;
    Answer public answer;

    address private _target;
    bytes private _call;
    bool public called;
    bytes public result;

    bytes32 public lastDelegation;
    address public lastCommitter;
    address public lastChallenger;
    bytes32 public lastRoot;

    function set(uint256 amountWei_, address rewarded_, address harmed_) external {
        (amountWei, rewarded, harmed) = (amountWei_, rewarded_, harmed_);
    }

    function setAnswer(Answer answer_) external {
        answer = answer_;
    }

    /// What to call while judging.
    function setCall(address target, bytes calldata data) external {
        (_target, _call) = (target, data);
    }

    function slash(
        Delegation calldata delegation,
        Commitment calldata,
        address committer,
        bytes calldata,
        address challenger
    ) external returns (uint256) {
        (lastDelegation, lastCommitter, lastChallenger) =
        (keccak256(abi.encode(delegation)), committer, challenger);
        return _judge();
    }

    function slashDelegation(bytes32 root, Delegation calldata delegation, bytes calldata, address challenger)
        external
        returns (uint256)
    {
        (lastDelegation, lastRoot, lastChallenger) = (keccak256(abi.encode(delegation)), root, challenger);
        return _judge();
    }

    function _judge() private returns (uint256) {
        if (_target != address(0)) (called, result) = _target.call(_call);
        if (amountWei == type(uint256).max) revert NoFault();
        return amountWei;
    }

    fallback() external {
        require(bytes4(msg.data) == ISlashBeneficiaries.beneficiaries.selector);
        if (answer == Answer.Reverts) revert NoFault();
        bytes memory out = abi.encode(rewarded, harmed);
        if (answer == Answer.TooShort) out = abi.encode(rewarded);
        if (answer == Answer.TooLong) out = abi.encode(rewarded, harmed, uint256(1));
        if (answer == Answer.NoAddress) out = abi.encode(uint256(uint160(rewarded)) | 1 << 200, harmed);
        if (answer == Answer.NoOtherAddress) out = abi.encode(rewarded, uint256(uint160(harmed)) | 1 << 255);
        if (answer == Answer.Huge) out = new bytes(10_000);
        if (answer == Answer.BurnsGas) while (true) {}
        assembly ("memory-safe") {
            return(add(out, 0x20), mload(out))
        }
    }

    function lock(Registry registry, bytes32 root) external {
        registry.lockCollateral(root);
    }

    function free(Registry registry, bytes32 root) external {
        registry.freeCollateral(root);
    }
}

/// A slasher of the Universal Registry Contract: it knows of no beneficiaries.
contract PlainSlasher is ISlasher {
    function slash(Delegation calldata, Commitment calldata, address, bytes calldata, address)
        external
        pure
        returns (uint256)
    {
        return 1 ether;
    }
}

/// An account that does as it is told when it gets ether, and remembers how that went.
contract Receiver {
    bool public refuses;
    bool public burnsGas;
    address private _target;
    bytes private _call;
    bool public called;
    bytes public result;

    function refuse(bool refuses_) external {
        refuses = refuses_;
    }

    function burnGas() external {
        burnsGas = true;
    }

    function onReceive(address target, bytes calldata data) external {
        (_target, _call) = (target, data);
    }

    function act(address target, bytes calldata data, uint256 value) external payable returns (bytes memory) {
        (bool success, bytes memory out) = target.call{value: value}(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(out, 0x20), mload(out))
            }
        }
        return out;
    }

    receive() external payable {
        require(!refuses);
        if (burnsGas) while (true) {}
        if (_target != address(0)) {
            (called, result) = _target.call(_call);
        }
    }
}

/// A registry, operators, slashers and their keys.
abstract contract RegistryFixture is Test {
    /// Odd, so that halves do not come out even.
    uint80 internal constant MIN = 1 ether + 1;
    uint32 internal constant FRAUD = 1 days;
    uint32 internal constant UNREGISTER = 7 days;
    uint32 internal constant SLASH = 10 days;
    uint32 internal constant OPT_IN = 2 days;
    bytes4 internal constant FORK = 0x10000910;
    uint256 internal constant CHAIN = 560_048;
    bytes32 internal constant ID = keccak256("earnest.v1");
    uint256 internal constant KEY = 0x3333333333333333333333333333333333333333333333333333333333333333;

    Registry internal registry;
    TestSlasher internal slasher;
    address internal owner = makeAddr("an owner");
    address internal challenger = makeAddr("challenger");
    address internal rewarded = makeAddr("rewarded");
    address internal harmed = makeAddr("harmed");
    address internal stranger = makeAddr("stranger");
    address internal committer = vm.addr(KEY);

    function setUp() public virtual {
        vm.chainId(CHAIN);
        vm.warp(1_764_000_000);
        registry = new Registry(config());
        slasher = new TestSlasher();
        slasher.set(MIN, rewarded, harmed);
    }

    function config() internal pure returns (IRegistry.Config memory) {
        return IRegistry.Config({
            minCollateralWei: MIN,
            fraudProofWindow: FRAUD,
            unregistrationDelay: UNREGISTER,
            slashWindow: SLASH,
            optInDelay: OPT_IN,
            signingDomain: Signing.domain(FORK),
            chainId: Signing.littleEndian(CHAIN)
        });
    }

    function word(bytes memory seed) internal pure returns (bytes32) {
        return keccak256(seed);
    }

    /// Half a word, as the first half of a field element has.
    function half(bytes memory seed) internal pure returns (bytes32) {
        return word(seed) >> 128;
    }

    /// Registrations that look like one and are none.
    function junk(uint256 seed, uint256 count)
        internal
        pure
        returns (IRegistry.SignedRegistration[] memory regs)
    {
        regs = new IRegistry.SignedRegistration[](count);
        for (uint256 i = 0; i < count; ++i) {
            regs[i].pubkey = G1Point(
                half(abi.encode(seed, i, 0)),
                word(abi.encode(seed, i, 1)),
                half(abi.encode(seed, i, 2)),
                word(abi.encode(seed, i, 3))
            );
            regs[i].signature = G2Point(
                half(abi.encode(seed, i, 4)),
                word(abi.encode(seed, i, 5)),
                half(abi.encode(seed, i, 6)),
                word(abi.encode(seed, i, 7)),
                half(abi.encode(seed, i, 8)),
                word(abi.encode(seed, i, 9)),
                half(abi.encode(seed, i, 10)),
                word(abi.encode(seed, i, 11))
            );
        }
    }

    function register(IRegistry.SignedRegistration[] memory regs, address owner_, uint256 value)
        internal
        returns (bytes32 root)
    {
        return register(regs, owner_, ID, value);
    }

    function register(IRegistry.SignedRegistration[] memory regs, address owner_, bytes32 id, uint256 value)
        internal
        returns (bytes32 root)
    {
        vm.deal(owner_, owner_.balance + value);
        vm.prank(owner_, owner_);
        return registry.register{value: value}(regs, owner_, id);
    }

    /// An operator of one junk key, with five times the minimum, past the fraud proof window.
    function operator(uint256 seed) internal returns (bytes32 root) {
        root = register(junk(seed, 1), owner, 5 * uint256(MIN));
        skip(FRAUD);
    }

    function optIn(bytes32 root) internal {
        optIn(root, address(slasher), committer);
    }

    function optIn(bytes32 root, address slasher_, address committer_) internal {
        vm.prank(registry.getOperatorData(root).owner);
        registry.optInToSlasher(root, slasher_, committer_);
    }

    function optOut(bytes32 root) internal {
        vm.prank(registry.getOperatorData(root).owner);
        registry.optOutOfSlasher(root, address(slasher));
    }

    function unregister(bytes32 root) internal {
        vm.prank(registry.getOperatorData(root).owner);
        registry.unregister(root);
    }

    /// Registered and opted in to `slasher` with `committer`.
    function liable(uint256 seed) internal returns (bytes32 root) {
        root = operator(seed);
        optIn(root);
    }

    function commitmentOf(uint256 n, address slasher_) internal pure returns (Commitment memory) {
        return Commitment(0x11, abi.encode("commitment", n), bytes32(0), slasher_);
    }

    function sign(Commitment memory commitment, uint256 key) internal view returns (SignedCommitment memory) {
        return sign(commitment, key, ID, 0);
    }

    function sign(Commitment memory commitment, uint256 key, bytes32 id, uint64 nonce)
        internal
        view
        returns (SignedCommitment memory)
    {
        bytes32 object = keccak256(abi.encode(Signing.COMMITMENT, commitment));
        bytes32 root = Signing.signingRoot(object, id, nonce, block.chainid, Signing.domain(FORK));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, root);
        return SignedCommitment(commitment, nonce, id, abi.encodePacked(r, s, v));
    }

    function signed(uint256 n) internal view returns (SignedCommitment memory) {
        return sign(commitmentOf(n, address(slasher)), KEY);
    }

    function slash(bytes32 root, uint256 n) internal returns (uint256) {
        // Signing calls precompiles, which would use up the prank.
        SignedCommitment memory commitment = signed(n);
        vm.prank(challenger);
        return registry.slashCommitment(root, commitment, "evidence");
    }

    function slashFails(bytes32 root, uint256 n, bytes4 why) internal {
        SignedCommitment memory commitment = signed(n);
        vm.expectRevert(why);
        vm.prank(challenger);
        registry.slashCommitment(root, commitment, "evidence");
    }

    function collateral(bytes32 root) internal view returns (uint256) {
        return registry.getOperatorData(root).collateralWei;
    }

    // ---- What the Rust side made.

    function _vectors(string memory name) internal view returns (string memory) {
        return vm.readFile(string.concat("../tests/vectors/registry/", name));
    }

    /// Where the object called `name` stands in the array at `path`.
    function _at(string memory json, string memory path, string memory name)
        internal
        view
        returns (string memory)
    {
        for (uint256 i = 0; vm.keyExistsJson(json, string.concat(path, "[", vm.toString(i), "]")); ++i) {
            string memory place = string.concat(path, "[", vm.toString(i), "]");
            if (
                keccak256(bytes(vm.parseJsonString(json, string.concat(place, ".name"))))
                    == keccak256(bytes(name))
            ) {
                return place;
            }
        }
        revert(string.concat("no vector ", name));
    }

    /// Registers an operator of the vectors, with five times the minimum.
    function registerVector(string memory name) internal returns (bytes32 root) {
        return registerVector(name, 5 * uint256(MIN));
    }

    function registerVector(string memory name, uint256 value) internal returns (bytes32 root) {
        string memory json = _vectors("operators.json");
        string memory place = _at(json, ".operators", name);
        IRegistry.SignedRegistration[] memory regs = abi.decode(
            vm.parseJsonBytes(json, string.concat(place, ".registrations")), (IRegistry.SignedRegistration[])
        );
        root = register(
            regs,
            vm.parseJsonAddress(json, string.concat(place, ".owner")),
            vm.parseJsonBytes32(json, string.concat(place, ".signingId")),
            value
        );
    }

    function proofOf(string memory name, uint256 index)
        internal
        view
        returns (IRegistry.RegistrationProof memory)
    {
        string memory json = _vectors("operators.json");
        string memory place =
            string.concat(_at(json, ".operators", name), ".keys[", vm.toString(index), "].proof");
        return abi.decode(vm.parseJsonBytes(json, place), (IRegistry.RegistrationProof));
    }

    function delegationOf(string memory name) internal view returns (SignedDelegation memory) {
        string memory json = _vectors("delegations.json");
        string memory place = string.concat(_at(json, ".delegations", name), ".encoded");
        return abi.decode(vm.parseJsonBytes(json, place), (SignedDelegation));
    }
}
