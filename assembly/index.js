"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.writeConstants = exports.scratchBytes = exports.attend = void 0;
exports.constantBytes = constantBytes;
exports.headBytes = headBytes;
exports.heapBase = heapBase;
exports.isRelaxed = isRelaxed;
const exp_1 = require("./exp");
var flash_1 = require("./flash");
Object.defineProperty(exports, "attend", { enumerable: true, get: function () { return flash_1.attend; } });
Object.defineProperty(exports, "scratchBytes", { enumerable: true, get: function () { return flash_1.scratchBytes; } });
var exp_2 = require("./exp");
Object.defineProperty(exports, "writeConstants", { enumerable: true, get: function () { return exp_2.writeConstants; } });
/** Bytes of the table that `writeConstants` writes. */
function constantBytes() {
    return exp_1.CONSTANT_BYTES;
}
/** Bytes of the arguments of `attend`. */
function headBytes() {
    return offsetof();
}
/** Where TypeScript may start to use memory. */
function heapBase() {
    return __heap_base;
}
/** Whether this is the relaxed build. */
function isRelaxed() {
    return ASC_FEATURE_RELAXED_SIMD;
}
