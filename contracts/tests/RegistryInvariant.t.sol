// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {SignedCommitment, SignedDelegation} from "../src/Objects.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Receiver, RegistryFixture, TestSlasher} from "./RegistryFixture.sol";

/// Operators, slashers and strangers that do whatever they like, and the books that are kept of it.
contract RegistryHandler is RegistryFixture {
    uint256 private constant OPERATORS = 7;
    uint256 private constant SLASHERS = 3;
    uint256 private constant COMMITTERS = 5;

    bytes32[] public roots;
    address[] public accounts;
    TestSlasher[] private _slashers;
    mapping(bytes32 root => bool) public known;
    mapping(bytes32 root => uint256) public paidIn;
    mapping(bytes32 root => uint256) public slashedOut;
    mapping(bytes32 root => uint256) public claimedOut;
    /// The earliest time at which an operator could claim, were nothing to happen any more.
    mapping(bytes32 root => uint256) public exitAt;
    mapping(bytes32 root => mapping(address slasher => uint256)) private _locks;
    mapping(bytes32 root => uint256) private _lockedUntil;
    mapping(address slasher => mapping(address committer => bytes32)) private _operatorOf;
    /// How often a fault was slashed.
    mapping(bytes32 fault => uint256) public slashes;
    uint256 public mostSlashes;
    uint256 public totalSlashed;
    mapping(string call => uint256) public done;

    IRegistry.RegistrationProof private _proof;
    SignedDelegation private _one;
    SignedDelegation private _two;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < SLASHERS; ++i) {
            _slashers.push(new TestSlasher());
        }
        for (uint256 i = 0; i < 3; ++i) {
            accounts.push(makeAddr(vm.toString(i)));
        }
        Receiver refusing = new Receiver();
        refusing.refuse(true);
        accounts.push(address(refusing));
        accounts.push(address(new Receiver()));
        accounts.push(challenger);
        bytes32 root = registerVector("three");
        _pays(root, 5 * uint256(MIN));
        _proof = proofOf("three", 0);
        _one = delegationOf("plain");
        _two = delegationOf("allocated");
        accounts.push(registry.getOperatorData(root).owner);
    }

    function _pays(bytes32 root, uint256 value) private {
        if (!known[root]) {
            known[root] = true;
            roots.push(root);
        }
        paidIn[root] += value;
    }

    function count() external view returns (uint256) {
        return roots.length;
    }

    function accountCount() external view returns (uint256) {
        return accounts.length;
    }

    function balance() external view returns (uint256) {
        return address(registry).balance;
    }

    function data(bytes32 root) public view returns (IRegistry.OperatorData memory) {
        return registry.getOperatorData(root);
    }

    function credit(address account) external view returns (uint256) {
        return registry.credit(account);
    }

    function historical(bytes32 root) external view returns (uint256) {
        return registry.getHistoricalCollateral(root, block.timestamp);
    }

    function liableToAnyone(bytes32 root) external view returns (bool) {
        for (uint256 i = 0; i < SLASHERS; ++i) {
            if (registry.isLiable(root, address(_slashers[i]))) return true;
        }
        return false;
    }

    /// Whether the registry still names the operator that first used each committer.
    function committersStand() external view returns (bool) {
        for (uint256 i = 0; i < SLASHERS; ++i) {
            for (uint256 k = 1; k <= COMMITTERS; ++k) {
                address signer = vm.addr(k);
                if (
                    registry.operatorOf(address(_slashers[i]), signer)
                        != _operatorOf[address(_slashers[i])][signer]
                ) return false;
            }
        }
        return true;
    }

    // ---- What they do. Each looks at what it changed; whether it is taken is the registry's affair.

    modifier watched(string memory name) {
        bool known_ = roots.length != 0;
        _;
        if (known_) ++done[name];
        for (uint256 i = 0; i < roots.length; ++i) {
            uint256 exit = _exit(roots[i]);
            assertGe(exit, exitAt[roots[i]], "the way out got shorter");
            exitAt[roots[i]] = exit;
        }
    }

    function _exit(bytes32 root) private view returns (uint256) {
        IRegistry.OperatorData memory operator_ = data(root);
        if (operator_.deleted) return type(uint256).max;
        if (operator_.slashedAt != 0) return uint256(operator_.slashedAt) + SLASH;
        if (operator_.unregisteredAt != type(uint48).max) {
            return uint256(operator_.unregisteredAt) + UNREGISTER;
        }
        return block.timestamp + UNREGISTER;
    }

    function _root(uint256 seed) private view returns (bytes32) {
        return roots[seed % roots.length];
    }

    function _slasher(uint256 seed) private view returns (TestSlasher) {
        return _slashers[seed % SLASHERS];
    }

    function _account(uint256 seed) private view returns (address) {
        return accounts[seed % accounts.length];
    }

    function wait(uint32 time) external watched("wait") {
        skip(time % 4 days);
    }

    function waitForLong(uint32 time) external watched("wait for long") {
        skip(time % 40 days);
    }

    function registers(uint256 seed, uint256 who, uint80 value) external watched("register") {
        value = uint80(bound(value, MIN - 1, 100 ether));
        vm.deal(address(this), value);
        IRegistry.SignedRegistration[] memory regs = junk(seed % OPERATORS, 1);
        try registry.register{value: value}(regs, _account(who), ID) returns (bytes32 root) {
            assertGe(value, MIN);
            assertFalse(known[root], "registered twice");
            _pays(root, value);
        } catch {}
    }

    function adds(uint256 seed, uint72 value) external watched("add") {
        vm.deal(address(this), value);
        bytes32 root = _root(seed);
        try registry.addCollateral{value: value}(root) {
            _pays(root, value);
        } catch {}
    }

    function unregisters(uint256 seed) external watched("unregister") {
        bytes32 root = _root(seed);
        vm.prank(data(root).owner);
        try registry.unregister(root) {} catch {}
    }

    function optsIn(uint256 seed, uint256 which, uint256 key) external watched("opt in") {
        bytes32 root = _root(seed);
        address slasher_ = address(_slasher(which));
        address signer = vm.addr(key % COMMITTERS + 1);
        vm.prank(data(root).owner);
        try registry.optInToSlasher(root, slasher_, signer) {
            bytes32 user = _operatorOf[slasher_][signer];
            assertTrue(user == 0 || user == root, "another's committer");
            _operatorOf[slasher_][signer] = root;
        } catch {}
    }

    function optsOut(uint256 seed, uint256 which) external watched("opt out") {
        bytes32 root = _root(seed);
        vm.prank(data(root).owner);
        try registry.optOutOfSlasher(root, address(_slasher(which))) {} catch {}
    }

    /// With a fault out of a few, so that they come again.
    function slashesCommitment(
        uint256 seed,
        uint256 which,
        uint256 key,
        uint256 n,
        uint256 amount,
        uint256[3] calldata who,
        uint8 answer
    ) external watched("slash") {
        bytes32 root = _root(seed);
        TestSlasher slasher_ = _slasher(which);
        slasher_.set(amount % 3 == 0 ? amount : amount % 5 ether, _account(who[0]), _account(who[1]));
        slasher_.setAnswer(TestSlasher.Answer(answer % 8));
        vm.startPrank(_account(who[2]));
        _slash(root, address(slasher_), _secret(root, address(slasher_), key), n);
        vm.stopPrank();
    }

    /// Most of the time that of the committer that should have signed.
    function _secret(bytes32 root, address slasher_, uint256 key) private view returns (uint256 secret) {
        address signer = registry.getSlasherCommitment(root, slasher_).committer;
        secret = key % COMMITTERS + 1;
        if (key % 4 == 0) return secret;
        for (uint256 k = 1; k <= COMMITTERS; ++k) {
            if (vm.addr(k) == signer) secret = k;
        }
    }

    function _slash(bytes32 root, address slasher_, uint256 secret, uint256 n) private {
        SignedCommitment memory commitment =
            sign(commitmentOf(n % 4, slasher_), secret, bytes32(n), uint64(n));
        bytes32 fault = keccak256(abi.encode(root, slasher_, n % 4, secret));
        bool liable_ = registry.isLiable(root, slasher_);
        uint256 held = collateral(root);
        try registry.slashCommitment(root, commitment, "evidence") returns (uint256 taken) {
            assertTrue(liable_, "slashed, not liable");
            assertEq(_operatorOf[slasher_][vm.addr(secret)], root, "another's signature");
            _slashed(root, held, taken, fault);
        } catch {}
    }

    function _slashed(bytes32 root, uint256 held, uint256 taken, bytes32 fault) private {
        assertGt(taken, 0);
        assertEq(collateral(root), held - taken);
        slashedOut[root] += taken;
        totalSlashed += taken;
        uint256 times = ++slashes[fault];
        if (times > mostSlashes) mostSlashes = times;
    }

    function slashesRegistration(uint256 seed, uint256 who) external watched("slash registration") {
        IRegistry.SignedRegistration[] memory regs = junk(seed % OPERATORS, 1);
        for (uint256 i = 0; i < accounts.length; ++i) {
            IRegistry.RegistrationProof memory proof = registry.getRegistrationProof(regs, accounts[i], 0, ID);
            bytes32 root = proof.registrationRoot;
            if (!known[root]) continue;
            uint256 held = collateral(root);
            vm.prank(_account(who));
            try registry.slashRegistration(proof) returns (uint256 taken) {
                assertLt(block.timestamp, uint256(data(root).registeredAt) + FRAUD);
                _slashed(root, held, taken, keccak256(abi.encode(root, "registration")));
            } catch {}
        }
    }

    function slashesEquivocation(uint256 who, bool turned) external watched("slash equivocation") {
        bytes32 root = _proof.registrationRoot;
        uint256 held = collateral(root);
        vm.prank(_account(who));
        try registry.slashEquivocation(_proof, turned ? _one : _two, turned ? _two : _one) returns (
            uint256 taken
        ) {
            _slashed(root, held, taken, keccak256(abi.encode(root, "equivocation")));
        } catch {}
    }

    function locks(uint256 seed, uint256 which) external watched("lock") {
        bytes32 root = _root(seed);
        TestSlasher slasher_ = _slasher(which);
        if (block.timestamp >= _lockedUntil[root]) _unlock(root);
        try slasher_.lock(registry, root) {
            ++_locks[root][address(slasher_)];
            _lockedUntil[root] = block.timestamp + registry.MAX_LOCK();
        } catch {}
    }

    function frees(uint256 seed, uint256 which) external watched("free") {
        bytes32 root = _root(seed);
        TestSlasher slasher_ = _slasher(which);
        if (block.timestamp >= _lockedUntil[root]) _unlock(root);
        uint256 held = _locks[root][address(slasher_)];
        try slasher_.free(registry, root) {
            assertGt(held, 0, "freed what it did not hold");
            _locks[root][address(slasher_)] = held - 1;
        } catch {
            assertEq(held, 0, "not freed what it held");
        }
    }

    function _unlock(bytes32 root) private {
        for (uint256 i = 0; i < SLASHERS; ++i) {
            delete _locks[root][address(_slashers[i])];
        }
    }

    function _isLocked(bytes32 root) private view returns (bool) {
        if (block.timestamp >= _lockedUntil[root]) return false;
        for (uint256 i = 0; i < SLASHERS; ++i) {
            if (_locks[root][address(_slashers[i])] != 0) return true;
        }
        return false;
    }

    function claims(uint256 seed, bool slashed) external watched("claim") {
        bytes32 root = _root(seed);
        IRegistry.OperatorData memory before = data(root);
        uint256 had = before.owner.balance;
        (bool success,) = address(registry)
            .call(
                slashed
                    ? abi.encodeCall(registry.claimSlashedCollateral, (root))
                    : abi.encodeCall(registry.claimCollateral, (root))
            );
        bool takes = before.owner.code.length == 0 || !Receiver(payable(before.owner)).refuses();
        bool may = !before.deleted && !_isLocked(root) && takes
            && (slashed
                    ? before.slashedAt != 0 && block.timestamp >= uint256(before.slashedAt) + SLASH
                    : before.slashedAt == 0 && before.unregisteredAt != type(uint48).max
                    && block.timestamp >= uint256(before.unregisteredAt) + UNREGISTER);
        assertEq(success, may, "claimed against the rules, or not by them");
        if (!success) return;
        assertEq(before.owner.balance, had + before.collateralWei);
        claimedOut[root] += before.collateralWei;
        ++done["claimed"];
    }

    function claimsCredit(uint256 who) external watched("claim credit") {
        address account = _account(who);
        uint256 owed = registry.credit(account);
        uint256 had = account.balance;
        vm.prank(account);
        try registry.claimCredit() {
            assertGt(owed, 0);
            assertEq(account.balance, had + owed);
            ++done["claimed credit"];
        } catch {
            assertEq(account.balance, had);
        }
    }
}

contract RegistryInvariantTest is Test {
    RegistryHandler private _handler;

    function setUp() public {
        _handler = new RegistryHandler();
        _handler.setUp();
        targetContract(address(_handler));
        bytes4[] memory selectors = new bytes4[](14);
        selectors[0] = RegistryHandler.wait.selector;
        selectors[1] = RegistryHandler.waitForLong.selector;
        selectors[2] = RegistryHandler.registers.selector;
        selectors[3] = RegistryHandler.adds.selector;
        selectors[4] = RegistryHandler.unregisters.selector;
        selectors[5] = RegistryHandler.optsIn.selector;
        selectors[6] = RegistryHandler.optsOut.selector;
        selectors[7] = RegistryHandler.slashesCommitment.selector;
        selectors[8] = RegistryHandler.slashesRegistration.selector;
        selectors[9] = RegistryHandler.slashesEquivocation.selector;
        selectors[10] = RegistryHandler.locks.selector;
        selectors[11] = RegistryHandler.frees.selector;
        selectors[12] = RegistryHandler.claims.selector;
        selectors[13] = RegistryHandler.claimsCredit.selector;
        targetSelector(FuzzSelector(address(_handler), selectors));
    }

    /// Every wei is some operator's collateral or somebody's credit; of each operator's all is accounted for; at least
    /// half of what was slashed is burnt; no fault was slashed twice.
    /// forge-config: default.invariant.runs = 32
    /// forge-config: default.invariant.depth = 128
    /// forge-config: default.invariant.fail-on-revert = true
    function invariant_books() public view {
        uint256 held = 0;
        for (uint256 i = 0; i < _handler.count(); ++i) {
            bytes32 root = _handler.roots(i);
            IRegistry.OperatorData memory operator = _handler.data(root);
            held += operator.collateralWei;
            assertEq(
                _handler.paidIn(root),
                operator.collateralWei + _handler.slashedOut(root) + _handler.claimedOut(root),
                "an operator's ether"
            );
            assertEq(_handler.historical(root), operator.collateralWei, "the history's end");
            assertEq(operator.slashedAt != 0, _handler.slashedOut(root) != 0, "slashed without a slash");
            if (operator.deleted) {
                assertEq(operator.collateralWei, 0, "deleted with collateral");
                assertFalse(_handler.liableToAnyone(root), "deleted and liable");
            }
        }
        for (uint256 i = 0; i < _handler.accountCount(); ++i) {
            held += _handler.credit(_handler.accounts(i));
        }
        assertEq(_handler.balance(), held, "the registry's ether");
        assertGe(address(0).balance, _handler.totalSlashed() / 2, "what is burnt");
        assertLe(_handler.mostSlashes(), 1, "a fault slashed twice");
        assertTrue(_handler.committersStand(), "a committer that changed hands");
    }

    /// That the books are of something.
    function test_somethingHappens() public {
        _handler.registers(1, 0, 5 ether);
        _handler.waitForLong(2 days);
        _handler.optsIn(0, 0, 0);
        _handler.optsIn(1, 1, 1);
        _handler.locks(0, 0);
        _handler.slashesCommitment(0, 0, 0, 1, 1 ether, [uint256(0), 1, 2], 0);
        _handler.slashesCommitment(0, 0, 0, 1, 1 ether, [uint256(0), 1, 2], 0);
        _handler.slashesCommitment(1, 1, 1, 1, 1 ether, [uint256(0), 1, 2], 0);
        _handler.slashesEquivocation(0, true);
        assertEq(_handler.mostSlashes(), 1);
        assertGt(_handler.totalSlashed(), 2 ether);
        _handler.registers(2, 0, 5 ether);
        _handler.slashesRegistration(2, 1);
        _handler.frees(0, 0);
        _handler.waitForLong(30 days);
        _handler.claims(0, true);
        _handler.claims(1, true);
        _handler.claims(2, true);
        assertEq(_handler.done("claimed"), 3);
        _handler.claimsCredit(1);
        assertEq(_handler.done("claimed credit"), 1);
        invariant_books();
    }
}
