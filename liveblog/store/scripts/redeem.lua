-- Use an invitation once: its secret, its expiry and its remaining uses decide, and the member is made.
local invitations, uses, people, done = unpack(KEYS)
local id, secret_hash, now, person, member, remember = unpack(ARGV)
local before = redis.call('HGET', done, 'person')
if before then
  local member_now = redis.call('HGET', people, before)
  -- Who was removed since doesn't come back by asking again.
  return member_now and {'joined', before, member_now} or {'dead'}
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
redis.call('HINCRBY', uses, id, -1)
local made = cjson.decode(member)
local stands = redis.call('HGET', people, person)
-- An invitation never lowers what somebody has already.
if not (stands and cjson.decode(stands).role >= made.role) then
  redis.call('HSET', people, person, member)
end
redis.call('HSET', done, 'person', person)
redis.call('EXPIRE', done, remember)
return {'joined', person, redis.call('HGET', people, person)}
