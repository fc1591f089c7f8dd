-- Use an invitation once: its secret, its expiry and its remaining uses decide, and the member is made.
local invitations, uses, people, removed, done = unpack(KEYS)
local id, secret_hash, now, person, member, fingerprint, remember = unpack(ARGV)
local before = redis.call('HMGET', done, 'person', 'fingerprint')
if before[1] then
  if before[2] ~= fingerprint then
    return {'reused'}
  end
  local member_now = redis.call('HGET', people, before[1])
  -- Who was removed since doesn't come back by asking again.
  return member_now and {'joined', before[1], member_now} or {'dead'}
end
local invitation = redis.call('HGET', invitations, id)
if not invitation then
  return {'dead'}
end
local facts = cjson.decode(invitation)
if facts.secret_hash ~= secret_hash or facts.expires_at_seconds <= tonumber(now) then
  return {'dead'}
end
if tonumber(redis.call('HGET', uses, id) or '0') < 1 then
  return {'dead'}
end
-- Nor by an invitation that was there already when they were removed.
local removed_at = redis.call('HGET', removed, person)
if removed_at and (facts.created_at_seconds or 0) <= tonumber(removed_at) then
  return {'dead'}
end
redis.call('HINCRBY', uses, id, -1)
local made = cjson.decode(member)
local stands = redis.call('HGET', people, person)
-- An invitation never lowers what somebody has already.
if not (stands and cjson.decode(stands).role >= made.role) then
  redis.call('HSET', people, person, member)
end
redis.call('HSET', done, 'person', person, 'fingerprint', fingerprint)
redis.call('EXPIRE', done, remember)
return {'joined', person, redis.call('HGET', people, person)}
