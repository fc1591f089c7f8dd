-- Append one entry to a blog's log: check, store, announce, all or nothing.
local head, log, tags, posts, revisions, order, moments, trails, blog, givers, done = unpack(KEYS)
local action, id, entry, body, expected, revision, is_moment, author, fingerprint, remember, keep, channel =
  unpack(ARGV)

local before = redis.call('HMGET', done, 'fingerprint', 'offset', 'id')
if before[1] then
  if before[1] ~= fingerprint then
    return {'reused'}
  end
  local present = redis.call('HGET', posts, before[3])
  return {'replayed', before[2], redis.call('HGET', tags, before[2]), redis.call('HGET', head, 'epoch'),
    before[3], redis.call('HGET', log, before[2]), present}
end

local at = redis.call('HMGET', head, 'epoch', 'offset', 'tag', 'floor')
if not at[1] then
  return {'absent'}
end
if action == 'edit' or action == 'retract' then
  local stands = redis.call('HGET', revisions, id)
  if not stands then
    return {'gone'}
  end
  if expected ~= '' and stands ~= expected then
    return {'stale', stands}
  end
elseif action == 'blog' then
  local stands = redis.call('HGET', head, 'blog_revision')
  if stands ~= expected then
    return {'stale', stands}
  end
end

local epoch, previous, floor = at[1], at[3], tonumber(at[4])
local offset = redis.call('HINCRBY', head, 'offset', 1)
local tag = string.sub(redis.sha1hex(previous .. ' ' .. offset .. ' ' .. entry), 1, 12)
redis.call('HSET', head, 'tag', tag)
redis.call('HSET', log, offset, entry)
redis.call('HSET', tags, offset, tag)

if action == 'publish' or action == 'edit' then
  local trail = redis.call('HGET', trails, id)
  redis.call('HSET', trails, id, trail and (trail .. ',' .. offset) or offset)
  redis.call('HSET', posts, id, body)
  redis.call('HSET', revisions, id, revision)
  if action == 'publish' then
    redis.call('ZADD', order, offset, id)
    redis.call('HINCRBY', givers, author, 1)
  end
  if is_moment == '1' then
    redis.call('ZADD', moments, redis.call('ZSCORE', order, id), id)
  else
    redis.call('ZREM', moments, id)
  end
elseif action == 'retract' then
  for place in string.gmatch(redis.call('HGET', trails, id), '%d+') do
    -- Only what is still held: a trimmed entry must not come back as a tombstone.
    if redis.call('HEXISTS', log, place) == 1 then
      redis.call('HSET', log, place, entry)
    end
  end
  redis.call('HDEL', trails, id)
  redis.call('HDEL', posts, id)
  redis.call('HDEL', revisions, id)
  redis.call('ZREM', order, id)
  redis.call('ZREM', moments, id)
  if redis.call('HINCRBY', givers, author, -1) <= 0 then
    redis.call('HDEL', givers, author)
  end
elseif action == 'blog' then
  redis.call('SET', blog, body)
  redis.call('HSET', head, 'blog_revision', revision)
end

if offset - floor >= tonumber(keep) then
  redis.call('HDEL', log, floor)
  -- The tag of the last entry trimmed stays: who has read up to there misses nothing.
  redis.call('HDEL', tags, floor - 1)
  redis.call('HSET', head, 'floor', floor + 1)
end

redis.call('HSET', done, 'fingerprint', fingerprint, 'offset', offset, 'id', id)
redis.call('EXPIRE', done, remember)
redis.call('SPUBLISH', channel, epoch .. ' ' .. offset .. ' ' .. tag .. ' ' .. previous .. '\n' .. entry)
return {'appended', offset, tag, epoch, id}
