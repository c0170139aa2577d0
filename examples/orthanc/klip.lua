-- Orthanc: every CT study that no longer grows goes through klip, and the results come back into the study.
--
-- In Orthanc's configuration: "LuaScripts": ["…/klip.lua"], "StableAge": 60. The work is done by klip_study.sh
-- beside this file, in a process of its own: a script in Lua would hold up the server. That script's path is in the
-- environment variable KLIP_STUDY_SCRIPT of the server; without it nothing is done.
--
-- Research software. Not a medical device.

function OnStableSeries(seriesId, tags, metadata)
  local script = os.getenv('KLIP_STUDY_SCRIPT')
  if script == nil or tags['Modality'] ~= 'CT' then
    return  -- results of klip are SEG, OT and SR, so that they do not start it again
  end
  local uid = tags['SeriesInstanceUID']
  local study = ParseJson(RestApiGet('/series/' .. seriesId .. '/study'))['MainDicomTags']['StudyInstanceUID']
  for _, text in ipairs({uid, study}) do
    if text == nil or string.match(text, '^[0-9][0-9.]*$') == nil then
      print('klip: a series without a proper UID was left alone')
      return
    end
  end
  os.execute('sh "' .. script .. '" ' .. study .. ' ' .. uid .. ' </dev/null >/dev/null 2>&1 &')
end
