-- Withdraw an invitation and take out everybody whom it let in; their ids, or nothing if unknown.
local invitations, uses, people = unpack(KEYS)
local id = ARGV[1]
if redis.call('HDEL', invitations, id) == 0 then
  return false
end
redis.call('HDEL', uses, id)
local gone = {}
local all = redis.call('HGETALL', people)
for i = 1, #all, 2 do
  if cjson.decode(all[i + 1]).invitation == id then
    redis.call('HDEL', people, all[i])
    gone[#gone + 1] = all[i]
  end
end
return gone
