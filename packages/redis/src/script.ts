// What runs inside Redis: each script is one atomic step on the keys of one slot. Member set ids are kept packed, see
// `member-set-ids.ts`.

import { createHash } from "node:crypto";

/** A Lua script and the digest by which Redis knows it. */
export interface Script {
  readonly text: string;
  readonly sha1: string;
}

function script(text: string): Script {
  return { text, sha1: createHash("sha1").update(text).digest("hex") };
}

/** Creates the environment unless it is there. KEYS: registry. ARGV: layout record, environment record, epoch. Answers the layout record, or nil for foreign data. */
export const createEnvironment = script(`
local layout = redis.call('HGET', KEYS[1], 'layout')
if layout then return layout end
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'environment', ARGV[2], 'epoch', ARGV[3])
return ARGV[1]`);

/**
 * Compare-and-swap of one record, which is kept behind its revision and a line feed. KEYS: registry, the HASH that holds the record. ARGV: the
 * layout record of the environment that was opened; the record's field, the revision expected or nothing, the new one, the record, the epoch to set or
 * nothing. Answers whether it was written; nil if the environment is another one or gone.
 */
export const putRecord = script(`
if redis.call('HGET', KEYS[1], 'layout') ~= ARGV[1] then return false end
local present = redis.call('HGET', KEYS[2], ARGV[2])
if present then
  if ARGV[3] == '' or string.sub(present, 1, #ARGV[3] + 1) ~= ARGV[3] .. '\\n' then return 0 end
elseif ARGV[3] ~= '' then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4] .. '\\n' .. ARGV[5])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'epoch', ARGV[6]) end
return 1`);

/** Takes a new member set id and records the set. KEYS: registry, sets. ARGV: layout record, the set's record. Answers the id; nil as above. */
export const allocateSet = script(`
if redis.call('HGET', KEYS[1], 'layout') ~= ARGV[1] then return false end
local id
repeat id = redis.call('HINCRBY', KEYS[1], 'lastSet', 1) until redis.call('HSETNX', KEYS[2], id, ARGV[2]) == 1
return id`);

// KEYS[1]: a HASH of fences. ARGV: set id, token, holder, owner. A fence starts with the last three.
const CHECK_FENCE = `
local fence = redis.call('HGET', KEYS[1], ARGV[1])
local token, holder, owner = string.match(fence or '', '^(%d+) (%S+) (%S+)')
if not token then return 'dropped' end
if owner ~= ARGV[4] then return 'foreign' end
token = tonumber(token)
local mine = tonumber(ARGV[2])
if token > mine or (token == mine and holder ~= ARGV[3]) then return 'newer' end
local newer = token < mine
local short = ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]`;

/** Raises a fence. KEYS and ARGV as above, and what follows the fence in its record. Answers a refusal or nil. */
export const raiseFence = script(`${CHECK_FENCE}
if newer then redis.call('HSET', KEYS[1], ARGV[1], short .. ARGV[5]) end
return false`);

/**
 * Takes the fence off records of sets. KEYS: sets. ARGV: id and new record of each. At \`maxmemory\` Redis refuses what may take memory only as a script's first
 * write, so that it never stops half way; so one that frees memory begins by removing something.
 */
export const dropRecords = script(`
for i = 1, #ARGV, 2 do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end`);

// Where the packed id \`id\` starts in \`ids\`: a match counts only where another id ends, for the last byte of an id is below 128.
const FIND_ID = `
local find, sub, byte = string.find, string.sub, string.byte
local function position(ids, id)
  local at = find(ids, id, 1, true)
  while at and at > 1 and byte(ids, at - 1) > 127 do at = find(ids, id, at + 1, true) end
  return at
end`;

// A value of one zero byte stands in the shard for ids that are in the overflow.
const MARKER = "local marker = '\\0'";

/** Most bytes of a value with which Redis keeps a HASH compact (\`hash-max-listpack-value\`, default). */
const MAX_VALUE_BYTES = 64;

/**
 * Writes blocks of one run. KEYS: fences, the bitmap of used shards, then shard and overflow of each block. ARGV: as for the fence; the packed id; how
 * many leading bytes of a hash the shard implies; then for each block its place in the run, adds and removes, 16 bytes a hash. Answers how many were added and removed, or a refusal.
 */
export const writeBlocks = script(`${CHECK_FENCE}
if newer then redis.call('HSET', KEYS[1], ARGV[1], short) end
${FIND_ID}
${MARKER}
local id, skip = ARGV[5], tonumber(ARGV[6])
local added, removed = 0, 0
for block = 1, #KEYS / 2 - 1 do
  local shard, overflow = KEYS[2 * block + 1], KEYS[2 * block + 2]
  local adds, removes = ARGV[5 + 3 * block], ARGV[6 + 3 * block]
  local fields, n = {}, 0
  for at = 1, #adds, 16 do n = n + 1; fields[n] = sub(adds, at + skip, at + 15) end
  local last_add = n
  for at = 1, #removes, 16 do n = n + 1; fields[n] = sub(removes, at + skip, at + 15) end
  local values = redis.call('HMGET', shard, unpack(fields))
  local puts, p, gone, g, known = {}, 0, {}, 0, false
  for i = 1, n do
    local field, value = fields[i], values[i]
    local ids
    if not value then
      if i <= last_add then ids = id; added = added + 1 end
    else
      known = true
      local before = value
      if value == marker then before = redis.call('HGET', overflow, field) or '' end
      local at = position(before, id)
      if i <= last_add then
        if not at then ids = before .. id; added = added + 1 end
      elseif at then
        ids = sub(before, 1, at - 1) .. sub(before, at + #id)
        removed = removed + 1
      end
    end
    if ids then
      if #ids > ${MAX_VALUE_BYTES} then
        redis.call('HSET', overflow, field, ids)
        ids = marker
      elseif value == marker then
        redis.call('HDEL', overflow, field)
      end
      if ids == '' then g = g + 1; gone[g] = field
      elseif ids ~= value then puts[p + 1] = field; puts[p + 2] = ids; p = p + 2 end
    end
  end
  if p > 0 then
    if not known then redis.call('SETBIT', KEYS[2], ARGV[4 + 3 * block], 1) end
    redis.call('HSET', shard, unpack(puts))
  end
  if g > 0 then redis.call('HDEL', shard, unpack(gone)) end
end
return { added, removed }`);

/**
 * Reads the members of one set from a part of one shard. KEYS: shard, overflow. ARGV: HSCAN cursor and count, the packed id. Answers
 * the next cursor and the fields in one string.
 */
export const scanShard = script(`${FIND_ID}
${MARKER}
local part = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, fields, n = part[2], {}, 0
for i = 1, #entries, 2 do
  local ids = entries[i + 1]
  if ids == marker then ids = redis.call('HGET', KEYS[2], entries[i]) or '' end
  if position(ids, ARGV[3]) then n = n + 1; fields[n] = entries[i] end
end
return { part[1], table.concat(fields) }`);

/**
 * Removes ids of dropped sets from a part of one shard. KEYS: shard, overflow, the bitmap. ARGV: HSCAN cursor and count, the place in the run, then packed ids. Answers the
 * next cursor. It begins by removing something (which is not there), as {@link dropRecords} does, so that it runs at \`maxmemory\` too.
 */
export const stripShard = script(`
${MARKER}
redis.call('HDEL', KEYS[2], '')
local dead = {}
for i = 4, #ARGV do dead[ARGV[i]] = '' end
local part = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local entries, puts, p, gone, g = part[2], {}, 0, {}, 0
for i = 1, #entries, 2 do
  local field, value = entries[i], entries[i + 1]
  local before = value
  if value == marker then before = redis.call('HGET', KEYS[2], field) or '' end
  local ids = string.gsub(before, '[\\128-\\255]*[\\1-\\127]', dead)
  if ids ~= before then
    if #ids > ${MAX_VALUE_BYTES} then redis.call('HSET', KEYS[2], field, ids)
    else
      if value == marker then redis.call('HDEL', KEYS[2], field) end
      if ids == '' then g = g + 1; gone[g] = field
      else puts[p + 1] = field; puts[p + 2] = ids; p = p + 2 end
    end
  end
end
if g > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
if p > 0 then redis.call('HSET', KEYS[1], unpack(puts)) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SETBIT', KEYS[3], ARGV[3], 0) end
return part[1]`);
