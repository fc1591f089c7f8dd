-- Begin a blog with an empty log, unless there is one of that slug.
local head, blog, tags = unpack(KEYS)
local epoch, body = unpack(ARGV)
if redis.call('EXISTS', head) == 1 then
  return 0
end
redis.call('SET', blog, body)
redis.call('HSET', head, 'epoch', epoch, 'offset', 0, 'tag', '0', 'floor', 1, 'blog_revision', 1)
redis.call('HSET', tags, 0, '0')
return 1
