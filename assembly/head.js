"use strict";
var __decorate = (this && this.__decorate) || function (decorators, target, key, desc) {
    var c = arguments.length, r = c < 3 ? target : desc === null ? desc = Object.getOwnPropertyDescriptor(target, key) : desc, d;
    if (typeof Reflect === "object" && typeof Reflect.decorate === "function") r = Reflect.decorate(decorators, target, key, desc);
    else for (var i = decorators.length - 1; i >= 0; i--) if (d = decorators[i]) r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
    return c > 3 && r && Object.defineProperty(target, key, r), r;
};
Object.defineProperty(exports, "__esModule", { value: true });
exports.Head = void 0;
/**
 * The work of one call of {@link attend}: the query heads of one sequence that share one KV head. TypeScript writes it
 * (bindings/head.ts lists the same fields in the same order), the kernels only read it. Every field has four bytes.
 *
 * Row i of query head g stands at `q + i·qRow + g·qHead`; key j at `k + j·kRow`. Pointers that are 0 are absent options.
 * Strides in bytes, dims and lengths in elements.
 */
let Head = class Head {
    // outputs
    /** [seqLenQ][group] rows of valueDim floats. */
    out;
    /** [group][seqLenQ] floats, or 0. */
    lse;
    // inputs
    /** [seqLenQ][group] rows of headDim floats. */
    q;
    /** [seqLenKv] rows of headDim floats. */
    k;
    /** [seqLenKv] rows of valueDim floats. */
    v;
    /** [group][seqLenQ][seqLenKv] bytes, 0 = masked; broadcast by strides of 0; three readable bytes after the end. */
    keepMask;
    /** [group][seqLenQ][seqLenKv] floats; broadcast by strides of 0; three readable floats after the end. */
    bias;
    /** [group] floats. */
    alibiSlopes;
    /** [group] floats. */
    sinks;
    // scratch
    /** scratchBytes(headDim, valueDim) bytes, overwritten. */
    scratch;
    /** The table of exp.ts. */
    constants;
    // dims
    /** Query heads that share the KV head. */
    group;
    seqLenQ;
    /** Keys that may be read. */
    seqLenKv;
    headDim;
    valueDim;
    // strides
    outRow;
    outHead;
    lseHead;
    qRow;
    qHead;
    kRow;
    vRow;
    /** One query, one head, one key further; each may be 0. */
    maskRow;
    maskHead;
    maskKey;
    biasRow;
    biasHead;
    biasKey;
    // scalars
    /** Query i stands at key i + queryOffset; |queryOffset| ≤ 2³⁰. */
    queryOffset;
    /** Keys kept to the left and to the right of a query's position, at most 2³⁰. Causal is right = 0. */
    left;
    right;
    /** scale = queryScale·scoreScale: ± a power of two, multiplied into q without rounding, and the rest, > 0. */
    queryScale;
    scoreScale;
    /** 0 = off. */
    softcap;
};
exports.Head = Head;
exports.Head = Head = __decorate([
    unmanaged
], Head);
