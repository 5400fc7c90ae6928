// What runs inside Redis: each script is one atomic step on the keys of one slot. Member set ids are kept packed, see
// `member-set-ids.ts`.

import { createHash } from "node:crypto";
import { HISTORY_LIMIT } from "@rollcall/core";

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
 * Compare-and-swap of one record, which is kept behind its revision and a line feed. KEYS: registry, the HASH that holds the record, and the LIST that
 * is its history if there are reports. ARGV: the
 * layout record of the environment that was opened; the record's field, the revision expected or nothing, the new one, the record, the epoch to set or
 * nothing, the timeline expected or nothing; reports, the oldest first. Answers whether it was written, and the timeline: what Redis calls the replication id, which it changes
 * when a replica takes over, and when it starts. Nil if the environment is another one or gone. Over a record that is there it runs at \`maxmemory\`,
 * see {@link dropRecords}.
 */
export const putRecord = script(`
if redis.call('HGET', KEYS[1], 'layout') ~= ARGV[1] then return false end
local timeline = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if ARGV[7] ~= '' and ARGV[7] ~= timeline then return { 0, timeline } end
local present = redis.call('HGET', KEYS[2], ARGV[2])
if present then
  if ARGV[3] == '' or string.sub(present, 1, #ARGV[3] + 1) ~= ARGV[3] .. '\\n' then return { 0, timeline } end
  redis.call('HDEL', KEYS[2], '')
elseif ARGV[3] ~= '' then return { 0, timeline } end
-- The list before the record: where something else stands in its place, nothing is written.
if KEYS[3] then
  redis.call('LPUSH', KEYS[3], unpack(ARGV, 8))
  redis.call('LTRIM', KEYS[3], 0, ${HISTORY_LIMIT - 1})
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4] .. '\\n' .. ARGV[5])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'epoch', ARGV[6]) end
return { 1, timeline }`);

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

/** Raises a fence. KEYS and ARGV as above, and what follows the fence in its record. Answers a refusal or nil. It always writes: see {@link touchRegistry}. */
export const raiseFence = script(`${CHECK_FENCE}
if not newer then redis.call('HDEL', KEYS[1], '') end
redis.call('HSET', KEYS[1], ARGV[1], newer and short .. ARGV[5] or fence)
return false`);

/**
 * Takes the fence off records of sets. KEYS: sets. ARGV: id and new record of each. At \`maxmemory\` Redis refuses what may take memory only as a script's first
 * write, so that it never stops half way; so one that frees memory begins with a removal, of
 * something that is not there: a key that became empty would be taken for one that has left with its slot.
 */
export const dropRecords = script(`
redis.call('HDEL', KEYS[1], '')
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end`);

/**
 * Writes the epoch over itself, so that there is something for replicas to confirm: they then have all that came before. KEYS: registry.
 */
export const touchRegistry = script(`
local epoch = redis.call('HGET', KEYS[1], 'epoch')
redis.call('HDEL', KEYS[1], '')
if epoch then redis.call('HSET', KEYS[1], 'epoch', epoch) end
return false`);

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

/** Whether \`id\` can simply be put behind the ids of \`value\`: the usual change, for which a function of Lua's own would cost too much. */
const HAS_ROOM = "value and #value <= room and value ~= marker and not find(value, id, 1, true)";

/** Of so many shards a script reads at once whether they are used. */
const SHARDS_PER_READ = 4_096;

/**
 * Writes blocks of one run. KEYS: fences, the bitmap of used shards, and a key that is never there. The shards' names stand with the blocks, and
 * their slot is that of the bitmap: as KEYS they would cost more than writing them. Where the slot is on its way to another node, a shard may
 * be on either; then the missing key has both nodes refuse the script before it runs. ARGV: as for the fence; the packed id; how many leading bytes of a hash the
 * shard implies; the blocks, see `block-group.ts`. Writes its fence anew if it changes nothing, see {@link touchRegistry}. Answers how many were added and removed, or a refusal.
 */
export const writeBlocks = script(`${CHECK_FENCE}
if newer then redis.call('HSET', KEYS[1], ARGV[1], short) end
${FIND_ID}
${MARKER}
local call, unpack = redis.call, unpack
local id, skip, blocks = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local added, removed = 0, 0

-- A shard without its bit would never be scanned, so the bit comes before the first member. Bits are read for ${SHARDS_PER_READ} shards at once, for
-- blocks come in the order of their shards. Arithmetic, for in Lua a call of math or bit costs more.
local bits, bits_from, eight, eight_from = '', nil, 0, nil
local function is_used(place)
  local within = place % 8
  local from = place - within
  if from ~= eight_from then
    local at = from % ${SHARDS_PER_READ}
    if from - at ~= bits_from then
      bits_from = from - at
      bits = call('GETRANGE', KEYS[2], bits_from / 8, bits_from / 8 + ${SHARDS_PER_READ / 8 - 1})
    end
    eight_from, eight = from, byte(bits, at / 8 + 1) or 0
  end
  return eight * 2 ^ within % 256 >= 128
end
-- Only once is_used has said that it is not.
local function set_used(place)
  call('SETBIT', KEYS[2], place, 1)
  eight = eight + 2 ^ (7 - place % 8)
end
local function use(place)
  if not is_used(place) then set_used(place) end
end

-- The value after the change, or nil if it stays as it is.
local function change(shard, field, value, is_add)
  local ids
  if not value then
    if not is_add then return nil end
    ids, added = id, added + 1
  elseif value == id then
    if is_add then return nil end
    ids, removed = '', removed + 1
  else
    local before = value
    if value == marker then before = call('HGET', shard .. ':overflow', field) or '' end
    local at = position(before, id)
    if is_add then
      if at then return nil end
      ids, added = before .. id, added + 1
    else
      if not at then return nil end
      ids, removed = sub(before, 1, at - 1) .. sub(before, at + #id), removed + 1
    end
  end
  if #ids > ${MAX_VALUE_BYTES} then
    call('HSET', shard .. ':overflow', field, ids)
    if value == marker then return nil end
    return marker
  end
  if value == marker then call('HDEL', shard .. ':overflow', field) end
  return ids
end

-- Whether the context added last was in no set. Then the next one probably is not either, and need not be looked for.
local was_absent = false
-- Longest value behind which the id can be put.
local room = ${MAX_VALUE_BYTES} - #id
-- Used again for each block: a table costs more to make than to fill.
local fields, puts, gone = {}, {}, {}
local at, length = 1, #blocks
while at <= length do
  local s, p, q, r, a, b, c, d = byte(blocks, at, at + 7)
  at = at + 8 + s
  local shard = sub(blocks, at - s, at - 1)
  local place, adds = p * 65536 + q * 256 + r, a * 256 + b
  local n = adds + c * 256 + d
  -- What the shard does not imply of the first hash.
  local from, to = at + skip, at + 15
  if n == 1 then
    local field, is_add = sub(blocks, from, to), adds == 1
    local is_guess = is_add and was_absent
    if is_guess then use(place) end
    if is_guess and call('HSETNX', shard, field, id) == 1 then
      added = added + 1
    else
      local value = call('HGET', shard, field)
      if is_add then
        was_absent = not value
        -- Where there is a value, the shard has its bit; one that was lost is set again by a new context, or by a block of several.
        if was_absent then use(place) end
      end
      if is_add and ${HAS_ROOM} then
        call('HSET', shard, field, value .. id)
        added = added + 1
      else
        local ids = change(shard, field, value, is_add)
        if ids == '' then call('HDEL', shard, field) elseif ids then call('HSET', shard, field, ids) end
      end
    end
  else
    -- Mostly all eight are used, and then even a call of Lua's own is much.
    local used = eight == 255 and place - place % 8 == eight_from or is_used(place)
    -- The bit only spares asking: whoever lost the bitmap alone must not lose members that a write does not see.
    if used or call('EXISTS', shard) == 1 then
      for i = 1, n do
        fields[i] = sub(blocks, from, to)
        from, to = from + 16, to + 16
      end
      local values = call('HMGET', shard, unpack(fields, 1, n))
      if adds > 0 and not used then set_used(place) end
      local p, g = 0, 0
      for i = 1, n do
        local value = values[i]
        -- Mostly an id is put behind others.
        if i <= adds and ${HAS_ROOM} then
          puts[p + 1], puts[p + 2] = fields[i], value .. id
          p, added = p + 2, added + 1
        else
          local ids = change(shard, fields[i], value, i <= adds)
          if ids == '' then g = g + 1; gone[g] = fields[i]
          elseif ids then puts[p + 1], puts[p + 2] = fields[i], ids; p = p + 2 end
        end
      end
      if p > 0 then call('HSET', shard, unpack(puts, 1, p)) end
      if g > 0 then call('HDEL', shard, unpack(gone, 1, g)) end
    elseif adds > 0 then
      set_used(place)
      for i = 1, 2 * adds, 2 do
        puts[i], puts[i + 1] = sub(blocks, from, to), id
        from, to = from + 16, to + 16
      end
      call('HSET', shard, unpack(puts, 1, 2 * adds))
      added = added + adds
    end
  end
  at = at + 16 * n
end
if added + removed == 0 and not newer then
  redis.call('HDEL', KEYS[1], '')
  redis.call('HSET', KEYS[1], ARGV[1], fence)
end
return { added, removed }`);

/**
 * Reads what stands in shards for contexts. ARGV: for each shard, in a byte the length of its name, in 2 bytes, high byte first, how many
 * fields, the name, and the fields; then how long a field is. Answers a value or nil for each field, in their order.
 */
export const readValues = script(`
local byte, sub = string.byte, string.sub
local reads, width = ARGV[1], tonumber(ARGV[2])
local values, v, at = {}, 0, 1
while at <= #reads do
  local length, a, b = byte(reads, at, at + 2)
  local shard, n = sub(reads, at + 3, at + 2 + length), a * 256 + b
  at = at + 3 + length
  if n == 1 then
    v = v + 1
    values[v] = redis.call('HGET', shard, sub(reads, at, at + width - 1))
  else
    local fields = {}
    for i = 1, n do fields[i] = sub(reads, at + width * (i - 1), at + width * i - 1) end
    local found = redis.call('HMGET', shard, unpack(fields))
    for i = 1, n do values[v + i] = found[i] end
    v = v + n
  end
  at = at + width * n
end
return values`);

// KEYS[1]: a shard. ARGV: a cursor, and how many entries. A cursor means nothing to another process, to which a slot may have moved or which may
// have loaded the data after a crash: it then starts anew, and entries come twice.
const SCAN_PART = `
local run_id = function() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
local cursor, giver = string.match(ARGV[1], '^(%d+) ?(%x*)$')
if cursor ~= '0' and giver ~= run_id() then cursor = '0' end
local part = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', ARGV[2])
local next_cursor = part[1]
if next_cursor ~= '0' then next_cursor = next_cursor .. ' ' .. run_id() end`;

/**
 * Reads the members of one set from a part of one shard. KEYS: shard, overflow. ARGV: cursor and count, the packed id. Answers the
 * next cursor, "0" at the end, and the fields in one string.
 */
export const scanShard = script(`${FIND_ID}
${MARKER}
${SCAN_PART}
local entries, fields, n = part[2], {}, 0
for i = 1, #entries, 2 do
  local ids = entries[i + 1]
  if ids == marker then ids = redis.call('HGET', KEYS[2], entries[i]) or '' end
  if position(ids, ARGV[3]) then n = n + 1; fields[n] = entries[i] end
end
return { next_cursor, table.concat(fields) }`);

/**
 * Removes ids of dropped sets from a part of one shard. KEYS: shard, overflow, the bitmap. ARGV: cursor and count, the place in the run, then packed ids. Answers the
 * next cursor. It begins by removing something (which is not there), as {@link dropRecords} does, so that it runs at \`maxmemory\` too.
 */
export const stripShard = script(`
${MARKER}
redis.call('HDEL', KEYS[2], '')
local dead = {}
for i = 4, #ARGV do dead[ARGV[i]] = '' end
${SCAN_PART}
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
-- In slices: Lua takes no more than 8,000 arguments, and a compact shard comes whole.
for i = 1, g, 4000 do redis.call('HDEL', KEYS[1], unpack(gone, i, math.min(g, i + 3999))) end
for i = 1, p, 4000 do redis.call('HSET', KEYS[1], unpack(puts, i, math.min(p, i + 3999))) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SETBIT', KEYS[3], ARGV[3], 0) end
return next_cursor`);
